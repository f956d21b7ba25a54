# SPDX-License-Identifier: Apache-2.0
"""Predicts with, explains and exports a run; prints what came."""

import json
import sys

import flatten_jax as fj

workdir, video = sys.argv[1:]
(answer,) = fj.predict(workdir, [video])
(explained,) = fj.explain(workdir, videos=1)['videos']
report = {
  'best': answer.top(1)[0][1],
  'pictures': [path.rpartition('/')[2] for path in explained['pictures']],
  'exported': fj.export(workdir, formats=['stablehlo', 'safetensors']),
}
print(json.dumps(report))
