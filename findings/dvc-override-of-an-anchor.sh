#!/usr/bin/env bash
# dvc 3.67.1: `dvc exp run -S` on a parameter that sits in an anchored YAML mapping.
#
# params.yaml shares a mapping between two systems by an anchor, which YAML and DVC allow. `-S first.sampling.steps=7`
# should run with 7. What happens: the command says "Stage 'show' didn't change, skipping", ends with status 0, and the
# value stays 100. `-S second.sampling.steps=7` (the alias) changes both systems.
# Cause: the file is parsed with the anchor kept, so that both names are one object; the overridden values are then
# written back name by name, and the last name wins.
# Instead: write the mapping out for every name, or have a file per system.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check dvc==3.67.1 hydra-core==1.3.8 omegaconf==2.3.1 ruamel.yaml==0.19.1 >/dev/null
export PATH="$PWD/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir project && cd project
git init -q && git config user.name tester && git config user.email tester@example.org
dvc init -q
cat >params.yaml <<'YAML'
first:
  sampling: &shared {steps: 100}
second:
  sampling: *shared
YAML
cat >dvc.yaml <<'YAML'
stages:
  show:
    cmd: python -c "import yaml; p = yaml.safe_load(open('params.yaml')); print(p, file=open('seen.txt', 'w'))"
    params: [first.sampling, second.sampling]
    outs: [{seen.txt: {cache: false}}]
YAML
dvc repro -q && git add -A && git commit -q -m project

said=$(dvc exp run -S first.sampling.steps=7 show 2>&1)
first=$(cat seen.txt)
git checkout -q .
dvc exp run -S second.sampling.steps=7 show >/dev/null 2>&1
second=$(cat seen.txt)
echo "-S first.sampling.steps=7  ran with $first"
echo "-S second.sampling.steps=7 ran with $second"
[[ $said == *"Stage 'show' didn't change, skipping"* ]]
[[ $first == "{'first': {'sampling': {'steps': 100}}, 'second': {'sampling': {'steps': 100}}}" ]]
[[ $second == "{'first': {'sampling': {'steps': 7}}, 'second': {'sampling': {'steps': 7}}}" ]]
echo "as found"
