# Only wires the steps: names files and passes variables on. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SILENT:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN_PYTHON := $(BIN)/python
SETUP := $(PYTHON) recipes/runner/setup/install.py --venv $(VENV)

export AXOLOTL_DO_NOT_TRACK := 1
export DO_NOT_TRACK := 1
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1
# Yes or no, read by recipes/runner/core/flags.py.
export FORCE PREFLIGHT PUBLIC WITHOUT_EVAL
# accelerate must be found by name wherever it is launched from.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup train sweep check plan table data eval talks pairs labelled card merge publish serve export compare bench bench-lm bench-launch chat lint test clean

help: ## this list
	$(PYTHON) recipes/runner/setup/help.py Makefile

setup: ## set up .venv, once (EXTRAS="deepspeed,pii,judge,bench,serve,export,quantise,dev")
	$(SETUP) --extras "$(EXTRAS)"

train: ## train a recipe (RECIPE=, RUN=, SET="key=value ...", FORCE=1, PREFLIGHT=0, GPUS=, PROCESSES=, STRATEGY=, NODES=, NODE_RANK=, MASTER=host:port)
	$(SETUP)
	$(RUN_PYTHON) -m recipes train "$(RECIPE)" --run "$(RUN)" --set "$(SET)" \
	  --gpus "$(GPUS)" --processes "$(PROCESSES)" --strategy "$(STRATEGY)" \
	  --nodes "$(NODES)" --node-rank "$(NODE_RANK)" --master "$(MASTER)"

sweep: ## train a recipe over a grid, then compare (RECIPE=, SWEEP=recipes/sweeps/rank.yaml, BUDGET=1h, PARALLEL=, SET=, FORCE=1)
	$(SETUP)
	$(RUN_PYTHON) -m recipes sweep "$(RECIPE)" "$(SWEEP)" --parallel "$(PARALLEL)" --budget "$(BUDGET)" \
	  --set "$(SET)" --gpus "$(GPUS)" --processes "$(PROCESSES)" --strategy "$(STRATEGY)"

check: ## check every recipe, or some (RECIPE="one two.yaml"), offline and without a GPU
	$(SETUP)
	$(RUN_PYTHON) -m recipes check $(RECIPE)

plan: ## what a recipe will take: parameters, memory part by part, steps, tokens, time (RECIPE=, SET=, GPUS=, STRATEGY=)
	$(SETUP)
	$(RUN_PYTHON) -m recipes plan "$(RECIPE)" --set "$(SET)" --gpus "$(GPUS)" --strategy "$(STRATEGY)"

table: ## write recipes/README.md and launch/SIZING.md anew from the recipes
	$(SETUP)
	$(RUN_PYTHON) -m recipes table

data: ## make a data set: a recipe's, or by its definition (RECIPE= or DATASET=, ARGS="--limit 50" or "--source FILE")
	$(SETUP)
	$(RUN_PYTHON) -m datasets_prep $(if $(DATASET),"$(DATASET)",--recipe "$(RECIPE)") $(ARGS)

eval: ## base against tuned, paired, in one page (RECIPE= or RUN=, AGAINST=another run in base's place, ARGS="--limit 10")
	$(SETUP)
	$(RUN_PYTHON) -m eval $(if $(RUN),--run "$(RUN)",--recipe "$(RECIPE)") --against "$(AGAINST)" $(ARGS)

talks: ## base and tuned in whole talks with simulated people (RECIPE= or RUN=, ARGS="--limit 10 --user URL --user-model NAME")
	$(SETUP)
	$(RUN_PYTHON) -m eval.talks $(if $(RUN),--run "$(RUN)",--recipe "$(RECIPE)") $(ARGS)

pairs: ## preference rows from a run's answers: checks, votes, verdicts (RUN=, PROMPTS=file, ARGS="--samples 4 --limit 200 --checks asks_back")
	$(SETUP)
	$(RUN_PYTHON) -m eval.pairs --run "$(RUN)" --prompts "$(PROMPTS)" $(ARGS)

labelled: ## what each check of meaning is worth, on answers of a writer that no fit has seen (ARGS="--errors no_method")
	$(SETUP)
	$(RUN_PYTHON) -m eval.labelled $(ARGS)

bench-lm: ## lm-eval tasks on base and tuned, from one load (RECIPE= or RUN=, TASKS=, ARGS="--limit 50 --include DIR")
	$(SETUP) --extras bench
	$(RUN_PYTHON) -m eval.lm_harness $(if $(RUN),--run "$(RUN)",--recipe "$(RECIPE)") --tasks $(TASKS) $(ARGS)

card: ## write a run's model card anew; train and eval do so by themselves (RUN= or RECIPE=)
	$(SETUP)
	$(RUN_PYTHON) -m eval.release card --run "$(RUN)" --recipe "$(RECIPE)"

merge: ## base and adapter in one safetensors model, proven the same (RUN= or RECIPE=, DTYPE=bf16, FORCE=1)
	$(SETUP)
	$(RUN_PYTHON) -m eval.release merge --run "$(RUN)" --recipe "$(RECIPE)" --dtype "$(DTYPE)"

publish: ## push adapter and card to the Hub, privately (RUN=, REPO=user/name, PUBLIC=1, WITHOUT_EVAL=1)
	$(SETUP)
	$(RUN_PYTHON) -m eval.release publish --run "$(RUN)" --recipe "$(RECIPE)" --repo "$(REPO)"

serve: ## the merged model behind an OpenAI-compatible API on 127.0.0.1 (RUN= or RECIPE=, PORT=8000, QUEUE=64)
	$(SETUP) --extras serve
	$(RUN_PYTHON) -m eval.release serve --run "$(RUN)" --recipe "$(RECIPE)" --port "$(PORT)" --queue "$(QUEUE)"

export: ## the merged model as a file for llama.cpp and Ollama, read back by llama.cpp (RUN= or RECIPE=, FORMAT=gguf|gguf-lora, TYPE=bf16|f16|f32|q8_0|q5_1|q4_0|q5_k_m|q4_k_m)
	$(SETUP) --extras export
	$(RUN_PYTHON) -m eval.release export --run "$(RUN)" --recipe "$(RECIPE)" \
	  --format "$(FORMAT)" --type "$(TYPE)"

chat: ## talk to base and tuned, in a page on this machine (RECIPE= or RUN=, UI=terminal, PORT=, HOST=)
	$(SETUP)
	$(RUN_PYTHON) -m eval.chat $(if $(RUN),--run "$(RUN)",--recipe "$(RECIPE)") \
	  --ui "$(UI)" --host "$(HOST)" --port "$(PORT)"

compare: ## runs side by side (RUNS="a b c")
	$(SETUP)
	$(RUN_PYTHON) -m eval.compare --runs $(RUNS)

bench: ## stock Axolotl beside this repository, same run (RECIPE=)
	$(SETUP)
	$(RUN_PYTHON) -m plugins.falcon.benchmark $(if $(RECIPE),--recipe "$(RECIPE)") $(ARGS)

bench-launch: ## time from command to training, make train beside plain accelerate (RECIPE=, ARGS="--repeat 3")
	$(SETUP)
	$(RUN_PYTHON) -m recipes.runner.launch.overhead $(if $(RECIPE),--recipe "$(RECIPE)") $(ARGS)

lint: ## ruff and mypy
	$(SETUP) --extras dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test: ## every test (ARGS="-k falcon" for some)
	$(SETUP) --extras dev,pii
	OMP_NUM_THREADS=1 $(RUN_PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15 $(ARGS)

clean: ## remove caches; asks before it touches runs or data
	$(PYTHON) recipes/runner/setup/clean.py
