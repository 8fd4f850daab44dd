# `make demo` and `make test` each work alone on a machine that has Python 3.11 or newer and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP = .venv/bin/pip --disable-pip-version-check
READY = .venv/ready

.PHONY: demo test lint docs package audit fuzz kills long venv browser clean niivue

demo: $(READY)
	rm -rf demo
	.venv/bin/anatomark demo --out demo

# One thread a process: two test processes with all threads each would stand in each other's way.
test: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

# The site in build/site, to be opened as files or served from anywhere; it needs no other site. Warnings are errors.
docs: $(READY)
	.venv/bin/mkdocs build --quiet
	@echo open build/site/index.html

# sdist and wheel in build/package/dist: built, looked into, and the wheel used in a clean environment.
package: $(READY)
	.venv/bin/python release/check.py

# Known vulnerabilities of the versions in constraints.txt, as PyPI's advisories tell them: this needs the network.
audit: $(READY)
	.venv/bin/python release/audit.py

# Changed files through every door where files come in; what is neither read nor refused in a line goes to build/fuzz.
MINUTES = 60
fuzz: $(READY)
	.venv/bin/python -m tests.fuzz --minutes $(MINUTES)

# Commands killed at moments of writing and at random times, run again and compared with a run that nobody disturbed.
TRIES = 100
kills: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.kills --tries $(TRIES)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.kills --tries $(TRIES) --action ENOSPC
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.kills --tries $(TRIES) --action EIO
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.kills --tries $(TRIES) --action SIGTERM

# Tests that take minutes; memory and open files over many predictions, by one process and by the service.
PREDICTIONS = 50000
long: $(READY)
	OMP_NUM_THREADS=1 .venv/bin/pytest -m long
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.kills.long_run --predictions $(PREDICTIONS)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.kills.long_run --predictions $(PREDICTIONS) --service

venv: $(READY)

# Some tests open pages in Chromium, and are skipped without it. For Debian and its kin, as root.
browser:
	command -v chromium || { apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; }

# torch first and alone: a failed download of the one large package is then cheap to repeat.
$(READY): pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv demo build dist .pytest_cache .ruff_cache .hypothesis

# The viewer of the review page is a file of its npm package, kept in the repository: nothing is fetched at run time.
NIIVUE = 0.69.0
NIIVUE_AT = src/anatomark/review/page/vendor/niivue

niivue:
	rm -rf build/niivue && mkdir -p build/niivue
	npm install --prefix build/niivue --no-save --no-audit --no-fund @niivue/niivue@$(NIIVUE) esbuild@0.25
	cd build/niivue && node_modules/.bin/esbuild node_modules/@niivue/niivue/dist/index.js --minify --format=esm \
	    --log-level=warning --outfile=$(CURDIR)/$(NIIVUE_AT)/niivue.js
	cd build/niivue/node_modules && for name in gl-matrix fflate nifti-reader-js zarrita numcodecs array-equal \
	    @lukeed/uuid @ungap/structured-clone; do printf '\n==== %s ====\n' $$name; \
	    cat $$name/LICENSE* $$name/license* 2>/dev/null || sed -n 's/^ *"license": /license: /p' $$name/package.json; \
	    done > $(CURDIR)/$(NIIVUE_AT)/LICENSES-of-its-parts
	echo $(NIIVUE) > $(NIIVUE_AT)/VERSION
