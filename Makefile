# `make demo` makes a tune and `make test` runs the tests; both set up their own virtual environment first.

PYTHON ?= python3
VENV := .venv
HOYO := $(VENV)/bin/hoyo
LISTS := requirements.txt pyproject.toml hatch_build.py $(wildcard hoyomusic/native/*.[ch])

.PHONY: demo test model bench bench-train clean

demo: $(VENV)/installed
	@$(HOYO) generate --region Mondstadt --format abc,mid,wav,svg --out music
	@echo "To listen, open the .wav (or the .mid) file above in any player; the .svg is the sheet, for any browser."
	@echo "More tunes: $(HOYO) generate --region Liyue; all commands: $(HOYO) --help"

test: $(VENV)/installed-for-tests
	$(VENV)/bin/python -m pytest

# Trains the default model anew, for hours, into a file beside it; it is shipped once it is copied over by hand.
# The falling learning rates settle what the high ones have found; the second run drops more, since it overfits sooner.
model: $(VENV)/installed
	$(HOYO) train --epochs 7 --out models/begun.pth
	$(HOYO) resume models/begun.pth --epochs 8 --learning-rate 0.0008
	$(HOYO) train --from models/begun.pth --dropout 0.3 --epochs 2 --learning-rate 0.0015 --out models/retrained.pth
	$(HOYO) resume models/retrained.pth --epochs 3 --learning-rate 0.0005
	$(HOYO) resume models/retrained.pth --epochs 4 --learning-rate 0.00015

# Measures speed, in at most twenty minutes, and writes benchmarks/results.md.
bench: $(VENV)/installed-for-tests
	$(VENV)/bin/python -m benchmarks

bench-train: $(VENV)/installed-for-tests
	$(VENV)/bin/python -m benchmarks.train --json

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "HoyoMusic needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python $(LISTS)
	@echo "Installing HoyoMusic and its libraries into $(VENV): once, and some minutes long, as PyTorch is large ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@
