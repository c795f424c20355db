# Everything runs in .venv; the first call makes it (torch is large: a few minutes, 5 GB).
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE
unexport PYTHONDONTWRITEBYTECODE  # compiling all modules anew in each process would take minutes of a test run
DATA ?= .runs/heads
RUN ?= .runs/avatar

.PHONY: demo page page-pictures test test-quick openapi install develop check avatar avatar-report likeness claims driving bench bench-batch bench-gpu bench-estimate docs-pictures test-docs test-abuse test-soak test-ray lock audit clean

demo: install  ## bring a face to life and say where the video is
	@mkdir -p demo
	$(BIN)/micromotion animate docs/faces/eileen-collins.jpg --timeline alive -o demo/alive.mp4 --sheet demo/alive.png

page: .venv/paged  ## open the web page: a face, sliders, a video (reachable from this machine only)
	$(BIN)/micromotion page

page-pictures: develop  ## photograph the page: docs/page.jpg and docs/page-phone.jpg (a minute)
	PYTHONPATH=.:tests/support $(BIN)/python -W ignore -m tools.page_pictures

test: develop check  ## lint, types, all tests (on four cores at the most)
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-quick: develop  ## lint, and the quick tests of every room (two minutes on two cores)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m "not slow and not browser and not gpu"

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

.venv/paged: .venv/installed requirements-page.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-page.txt
	@touch $@

.venv/developed: .venv/installed .venv/paged .ci/browser.sh .ci/replicate.sh .ci/node/package-lock.json
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable ".[service,scale,dev]"
	@.ci/browser.sh
	@.ci/replicate.sh
	@touch $@

avatar: develop  ## make the embedded model again, from heads to figures (hours on a CPU, minutes on a GPU; resumes)
	$(BIN)/python -m avatar.data.dataset $(DATA)
	$(BIN)/python -m avatar.data.people $(DATA)
	$(BIN)/python -m avatar.training.generator $(DATA) $(RUN)
	$(BIN)/python -m avatar.training.identity $(DATA) $(RUN)
	$(BIN)/python -m avatar.training.clip $(DATA) $(RUN)
	$(BIN)/python -m avatar.training.encoder $(DATA) $(RUN)
	$(BIN)/python -m avatar.training.regressor $(DATA) $(RUN)
	$(BIN)/python -m avatar.publish $(DATA) $(RUN)

avatar-report: develop  ## measure the embedded model: docs/avatar.md and its pictures (an hour on two cores; resumes)
	$(BIN)/python -m avatar.report

likeness: develop  ## measure how well a photo's own face moves: docs/likeness.md and its pictures (20 minutes on a core; resumes)
	$(BIN)/python -m benchmarks.likeness

claims: develop  ## measure what the method claims: docs/claims.md and its pictures (three quarters of an hour on a core; resumes)
	$(BIN)/python -m benchmarks.claims

driving: develop  ## measure how well a video drives a photo: the last section of docs/claims.md (resumes)
	$(BIN)/python -m benchmarks.drive

bench: develop  ## time every stage, beside its rivals with PEERS=folder of checkouts: docs/performance.md (five minutes)
	$(BIN)/python -W ignore -m benchmarks.stages $(if $(PEERS),--peers $(PEERS)) --out docs/performance.md

bench-batch: develop  ## measure many photos, by each engine and in a shell loop: docs/scale.md (ten minutes on two cores)
	$(BIN)/python -W ignore -m benchmarks.batch --out docs/scale.md

bench-gpu: develop  ## the same on an NVIDIA GPU, and the estimate for a T4: docs/performance.md (ten minutes)
	$(BIN)/python -W ignore -m benchmarks.stages --gpu $(if $(PEERS),--peers $(PEERS)) --out docs/performance.md

bench-estimate: develop  ## what a T4 would take, counted and not measured: docs/performance.md (half a minute)
	$(BIN)/python -W ignore -m benchmarks.stages --estimate --out docs/performance.md

docs-pictures: develop  ## draw the pictures of docs/ and measure docs/model-card.md anew (ten minutes on one core)
	$(BIN)/python -m tools.pictures
	$(BIN)/python -m tools.bias

test-docs: develop  ## do all that the documents say, as it stands there (ten minutes)
	DOCS=all $(BIN)/pytest tests/docs/test_documents.py

test-abuse: develop  ## send hostile inputs to the service and the command line (ten minutes)
	PYTHONPATH=tests:tests/support $(BIN)/python -W ignore -m abuse

test-soak: develop  ## 500 predictions in a row, many at once, many cancelled (ten minutes)
	PYTHONPATH=tests:tests/support $(BIN)/python -W ignore -m abuse.soak

test-ray: develop  ## the engine of batches on Ray: clusters that lose actors and nodes (five minutes)
	RAY_TESTS=1 $(BIN)/pytest tests/batch/test_on_ray.py tests/batch/test_ray_nodes.py tests/batch/test_ray_on_s3.py

openapi: develop  ## write openapi.json anew from predict.py
	$(BIN)/python -m tools.openapi

lock: develop  ## write the locks anew: what requirements.txt and deploy/requirements.txt lead to, with hashes
	$(BIN)/pip install --dry-run --ignore-installed --quiet --report - -r requirements.txt \
		| $(BIN)/python .ci/lock.py requirements.lock
	sed -n 's/ --hash.*//p' requirements.lock > .venv/locked.txt
	$(BIN)/pip install --dry-run --ignore-installed --quiet --report - -c .venv/locked.txt -r deploy/requirements.txt \
		| $(BIN)/python .ci/lock.py deploy/requirements.lock requirements.lock

audit: develop  ## check requirements.lock against the package index and its advisories; write docs/licences.md
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock
	sed -n 's/ --hash.*//p' requirements.lock > .venv/locked.txt
	$(BIN)/pip install --dry-run --ignore-installed --no-deps --quiet --report - -r .venv/locked.txt | $(BIN)/python .ci/audit.py

clean:  ## everything that can be made again, but for training runs
	rm -rf .venv demo dist build .cog *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
