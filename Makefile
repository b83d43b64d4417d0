# Everything runs in .venv, which is built from requirements.txt once and again when that file changes. imagecorruptions is
# installed for its photographs of frost alone, without what it depends on.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo results test test-slow lint clean

demo: .venv/installed
	@echo "Six short trainings on digits, each evaluated on corrupted digits: two to four minutes on two CPU cores"
	$(BIN)/python scripts/reproduce.py table=demo output=outputs/demo jobs=2
	$(BIN)/python scripts/report.py outputs/demo table=demo --output outputs/demo/report
	@echo "This shows that everything works, not which method is better: the images are 1,797 small digits, one seed each."
	@echo "A real run: $(BIN)/python train.py experiment=cifar100/smoothmix_c dataset.download=true"

# every committed page and figure, from the committed data
results: .venv/installed
	$(BIN)/python scripts/report.py results/low_data table=low_data --output results/low_data --html outputs/low_data.html
	$(BIN)/python results/paper/audit.py
	$(BIN)/python results/figures/draw.py

# two workers of one thread each: most tests wait for short commands
test: .venv/installed
	@echo "The default suite: five to eight minutes on two CPU cores"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: requirements.txt
	@echo "Installing into .venv, once: some minutes, and with torch for CUDA 5.6 GB on disk"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps imagecorruptions==1.1.2
	@touch $@

clean:
	rm -rf .venv outputs
