# SPDX-License-Identifier: Apache-2.0
"""Evaluates, predicts with, explains and exports a run; prints what came."""

import json
import sys

import flatten_jax as fj

workdir, video = sys.argv[1:]
found = fj.evaluate(None, workdir)
(answer,) = fj.predict(workdir, [video], timeline=True)
(explained,) = fj.explain(workdir, videos=1)['videos']
report = {
  'scored': found['scored'],
  'views': found['views'],
  'best': answer.top(1)[0][1],
  'moments': len(answer.timeline.seconds),
  'pictures': [path.rpartition('/')[2] for path in explained['pictures']],
  'exported': fj.export(workdir, formats=['stablehlo', 'safetensors']),
}
print(json.dumps(report))
