# SPDX-License-Identifier: Apache-2.0
"""Config keys: their defaults, the values they take, and how they are resolved.

`default_config` has every key with its default and meaning, `config_rules` the
values that each can take (in the words of `value_rules`), `config_keys` the
names of earlier versions. `config` completes a config and is the only writer to
it; `clip_rules`, `recipe_rules` and `multi_label_rules` refuse keys that
contradict each other. `recipes` fills what a config leaves open, by the table
of `few_videos`. `run_config` is the config of a run, read as a config file.
"""
