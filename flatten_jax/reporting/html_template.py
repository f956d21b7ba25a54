# SPDX-License-Identifier: Apache-2.0
"""The jinja2 templates next to this module, which share style.html."""

import jinja2

from flatten_jax.evaluation import metrics
from flatten_jax.reporting import words


def load(name: str) -> jinja2.Template:
  """Loads a template, with the filters of the pages."""
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, ''),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {
    name: getattr(metrics, name)
    for name in ('percent', 'hits', 'interval', 'chance')
  } | {'short': words.short}
  return environment.get_template(name)
