# Most targets first set up the environment in .venv.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
BENCH := .venv/bench/ready
HOST ?= 127.0.0.1
PORT ?= 8000
HOURS ?= 1000
# Which tests to run: quick, or full.
SCALE ?= quick
# The interpreters of test-all-pythons. It prints the names of the ones that are not installed, and leaves them out.
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
# The folders of tests that run against the built wheel, because they need only the extra "testing".
WHEEL_TESTS := protocol rooms requests seats connections journal testing
# Seconds for which each target is fuzzed.
SECONDS ?= 60
# How many times `endure` kills a server, and how many connections it opens and closes. Each run takes up to ten minutes.
KILLS ?= 30
CONNECTIONS ?= 400000
# Any value makes `demo` serve HTTPS, with a new certificate, because phones allow only HTTPS pages to read sensors.
TLS ?=
TLS_OPTIONS := $(if $(TLS),--tls-cert .venv/tls/cert.pem --tls-key .venv/tls/key.pem)

.PHONY: demo test test-all-pythons wheel coverage bench bench-quick profile instructions soak fuzz endure constraints audit lint types format docs client clean

demo: $(READY)  ## Serve the examples and print the address.
	$(if $(TLS),$(BIN)/python -m examples.certificate .venv/tls)
	$(BIN)/edge run examples.stage:app --host $(HOST) --port $(PORT) $(TLS_OPTIONS)

test: $(READY)  ## Run the quick tests in two minutes, or all tests with SCALE=full. The summary counts the omitted tests.
	$(BIN)/python -m pytest -n logical --dist loadgroup --scale $(SCALE)

test-all-pythons:  ## Run the tests with each Python that is installed, at SCALE.
	for python in $(PYTHONS); do \
		if ! $$python -c '' 2>/dev/null; then echo "left out: $$python is not installed"; continue; fi; \
		$$python -m venv .venv/all/$$python && .venv/all/$$python/bin/pip install --quiet --upgrade pip \
			&& .venv/all/$$python/bin/pip install --quiet --editable '.[testing,monitor,redis]' --group dev \
			&& .venv/all/$$python/bin/python -m pytest -n logical --dist loadgroup --scale $(SCALE) || exit 1; \
	done

wheel:  ## Build the wheel, install it into an empty environment, and test it there, away from the sources.
	rm -rf .venv/wheel
	$(PYTHON) -m venv .venv/wheel
	.venv/wheel/bin/pip wheel --quiet --no-deps --wheel-dir .venv/wheel/dist .
	.venv/wheel/bin/pip install --quiet .venv/wheel/dist/*.whl
	.venv/wheel/bin/python -m edge --version
	.venv/wheel/bin/pip install --quiet "$$(echo .venv/wheel/dist/*.whl)[testing]" pytest-xdist
	mkdir .venv/wheel/away
	cp -r tests examples docs pyproject.toml .venv/wheel/away
	cd .venv/wheel/away && ../bin/python -m pytest -n logical --dist loadgroup --scale quick $(WHEEL_TESTS:%=tests/%)

coverage: $(READY)  ## Run the tests at SCALE, and list the lines of edge that no test runs.
	$(BIN)/python -m pytest -n logical --dist loadgroup --scale $(SCALE) --cov --cov-report term-missing:skip-covered

bench: $(BENCH)  ## Compare edge with its peers for a quarter of an hour, and write docs/performance.md. Afterwards, compare shared state with Colyseus, and measure grace, the hill, shared documents, slow readers, the cost of abuse, and several servers.
	$(BIN)/python -m benchmarks full
	$(BIN)/python -m benchmarks profile
	$(BIN)/python -m benchmarks.grace
	$(BIN)/python -m benchmarks.hill
	$(BIN)/python -m benchmarks.state
	$(BIN)/python -m benchmarks.shares
	$(BIN)/python -m benchmarks.slow
	$(BIN)/python -m benchmarks.abuse
	$(BIN)/python -m benchmarks.servers
	$(BIN)/python -m benchmarks.storm
	$(BIN)/python -m benchmarks.workers
	$(BIN)/python -m benchmarks.renewals

bench-quick: $(BENCH)  ## Compare edge with its peers for two minutes, and write nothing.
	$(BIN)/python -m benchmarks quick

profile: $(BENCH)  ## Measure the time of a message in each layer.
	$(BIN)/python -m benchmarks profile

instructions: $(BENCH)  ## Count the instructions of an event with valgrind.
	$(BIN)/python -m benchmarks.instructions

soak: $(READY)  ## Simulate HOURS (1,000) of the drawing game and of the hill with faults. This takes a day.
	$(BIN)/edge soak examples.drawing.room:ExquisiteCorpse --hours $(HOURS) --play tests.examples.players:draw
	$(BIN)/edge soak examples.hill.room:Hill --hours $(HOURS) --play tests.examples.players:steer

fuzz: $(READY)  ## Search for inputs that break edge or are expensive, for SECONDS per target, and store the useful inputs.
	$(BIN)/pip install --quiet --group fuzz
	for target in http codec machine fast_path cost; do $(BIN)/python -m tests.fuzz $$target $(SECONDS) || exit 1; done

endure: $(READY)  ## Kill a server that has clients KILLS times. Cause KILLS faults of servers that share rooms, also with Redis. Open and close CONNECTIONS in many ways. Each run takes three to ten minutes.
	$(BIN)/python -m tests.endurance.killed $(KILLS)
	$(BIN)/python -m tests.endurance.servers $(KILLS)
	$(BIN)/python -m tests.endurance.failover $(KILLS)
	$(BIN)/python -m tests.endurance.churn $(CONNECTIONS)

constraints: $(READY)  ## Pin the packages of a deployment, with hashes, for every platform, in constraints.txt.
	$(BIN)/pip install --quiet --group deploy
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra monitor --extra redis --upgrade --quiet \
		--generate-hashes --no-emit-index-url --custom-compile-command 'make constraints' --output-file constraints.txt

audit: $(READY)  ## Look for known vulnerabilities in the packages of constraints.txt; this needs the network.
	$(BIN)/pip install --quiet --group deploy
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement constraints.txt

lint: $(READY)  ## Check style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## Check types, strictly.
	$(BIN)/mypy

format: $(READY)  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## Build the reference from the docstrings, into site/.
	$(BIN)/pdoc edge edge.testing -o site

clean:  ## Remove the environment and all build results.
	rm -rf .venv build dist site screenshots

client: $(READY)  ## Build edge.js from its modules, and write the constants that it shares with Python.
	$(BIN)/python -m edge.client.build .venv/npm/node_modules/.bin/esbuild

# The environment. npm is optional: it installs esbuild, which builds edge.js, and TypeScript, which checks edge.js.
$(READY): pyproject.toml edge/client/js/package.json
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[testing,monitor,redis]' --group dev
	mkdir -p .venv/npm
	cp edge/client/js/package.json .venv/npm
	if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix .venv/npm; fi
	touch $(READY)

# The packages of the benchmarks. A C compiler builds the load generator. Node and npm are optional, and run the peers
# that are written in JavaScript.
$(BENCH): $(READY)
	$(BIN)/pip install --quiet --group bench
	mkdir -p .venv/bench
	touch $(BENCH)
