# Everything runs in .venv; the first call makes it (torch is large: a few minutes, 5 GB).
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test install develop check avatar clean

demo: install  ## animate a face and say where the video is
	@mkdir -p demo
	$(BIN)/micromotion animate docs/face.jpg --motion smile -o demo/smile.mp4 --sheet demo/smile.png

test: develop check  ## lint, types, tests
	$(BIN)/pytest

check: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

develop: .venv/developed

.venv/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable .
	@touch $@

.venv/developed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable ".[service,dev]"
	@touch $@

avatar: develop  ## make the embedded model again: heads, generator, encoder, yardstick, anchors (hours on a CPU; resumes)
	$(BIN)/python -m avatar.dataset .runs/heads
	$(BIN)/python -m avatar.train_generator .runs/heads .runs/avatar
	$(BIN)/python -m avatar.train_encoder .runs/heads .runs/avatar
	$(BIN)/python -m avatar.regressor .runs/heads .runs/avatar
	$(BIN)/python -m avatar.publish .runs/heads .runs/avatar

clean:  ## everything that can be made again, but for training runs
	rm -rf .venv demo dist build .cog *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
