# SPDX-License-Identifier: Apache-2.0
PYTHON := .venv/bin/python

.PHONY: help setup demo test test-pythons bench load failures lab lab-full peers vdsm-contract fuzz mutate sim sim-long diagram dist rpm rpm-test deb deb-test clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what is missing and make .venv/ (the others call it themselves)
	@scripts/setup

demo: setup ## three hosts on this machine, and a failover; KEEP=1 keeps them running
	@$(PYTHON) -m demo.run $(if $(filter-out 0,$(KEEP)),--keep)

test: ## lint, types, tests; also on other Pythons that are here
	@scripts/test

test-pythons: setup ## the quick tests on 3.9 and 3.13, more of them than make test runs there
	@scripts/test --pythons

bench: setup ## measure what we claim
	@$(PYTHON) -m bench

load: setup ## a thousand clients at once, heartbeat I/O, an idle host; SECONDS=600 for longer
	@$(PYTHON) -m bench status-load heartbeat idle $(if $(SECONDS),--seconds $(SECONDS))

failures: setup ## what each failure costs with the shipped times: 12 minutes, into docs/failures.md
	@$(PYTHON) -m bench failures --write docs/failures.md

lab: setup deb ## three booted hosts with the packages, as root: 10 minutes of failures; CASE=name for one
	@$(if $(CASE),,$(PYTHON) -m pytest -q -m booted tests/e2e)
	@$(PYTHON) -m lab run $(if $(CASE),--only $(CASE))

lab-full: setup deb ## all cases, both storages, 200 faults by a seed: hours; RESUME=1 goes on, LABS=2 at once; into docs/lab.md
	@$(PYTHON) -m lab run $(if $(RESUME),--resume,--full $(if $(SEED),--seed $(SEED))) \
		$(if $(LABS),--labs $(LABS)) --write docs/lab.md

peers: setup deb ## the same faults under Pacemaker and ours, as root: an hour; RUNS=2 for less; into docs/peers.md
	@$(PYTHON) -m lab peers $(if $(RUNS),--runs $(RUNS)) --write docs/peers.md

vdsm-contract: setup ## hold a real VDSM against the suite; VDSM=host:54321 CERTS=/etc/pki/vdsm
	@HA_AGENT_TEST_VDSM=$(VDSM) $(if $(CERTS),HA_AGENT_TEST_VDSM_CERTS=$(CERTS)) \
		$(PYTHON) -m pytest -q -rs tests/vdsm/contract

fuzz: setup ## a million hostile inputs to all that reads bytes from outside; SHARE=0.1 for fewer
	@$(PYTHON) -m fuzz $(if $(SHARE),--share $(SHARE))

mutate: setup ## can the tests of table, lease and score fail? SHARE=0.1 for a tenth
	@$(PYTHON) -m mutate $(if $(SHARE),--share $(SHARE))

sim: setup ## 100 simulated hours of bad luck, new drawn examples, and figures; SEEDS=1000 for more
	@HA_TEST_DRAW_NEW=1 HA_TEST_EXAMPLES=2000 $(PYTHON) -m pytest -q tests/fsm/test_machine.py
	@$(PYTHON) scripts/sim.py $(if $(SEEDS),--seeds $(SEEDS))

sim-long: setup ## 50,000 simulated host-hours; the outcome goes into docs/sim.md
	@$(PYTHON) scripts/sim.py --host-hours 50000 --large --write docs/sim.md

diagram: setup ## what documents have from code: state machine, failure table, verbs, metrics, old files
	@$(PYTHON) scripts/make_diagram.py ARCHITECTURE.md
	@$(PYTHON) scripts/make_failure_table.py ARCHITECTURE.md
	@$(PYTHON) scripts/make_api_doc.py docs/api.md
	@$(PYTHON) scripts/make_metrics_doc.py docs/metrics.md
	@$(PYTHON) scripts/make_hosted_engine_doc.py docs/hosted-engine.md
	@$(PYTHON) scripts/make_predecessor_doc.py docs/predecessor-files.md
	@$(PYTHON) scripts/make_catalog.py systemd/ha-agent.catalog docs/journal.md
	@$(PYTHON) -m scripts.make_man packaging/man
	@$(PYTHON) -m scripts.make_completions packaging/completions

dist: setup ## source distributions and wheels of ha-agent and its HAClient, as committed, in dist/
	@$(PYTHON) scripts/make_dist.py dist

rpm: ## rpm packages of the committed tree, in dist/: for EL, or elsewhere in the layouts of EL 9 and 10
	@scripts/make_rpm

rpm-test: setup ## build the rpm packages in both layouts, and try what is in them and their scripts
	@$(PYTHON) -m pytest -q -rs tests/packaging/test_rpm.py

deb: ## Debian packages of the committed tree, in dist/; SUFFIX=+2 for a later version
	@scripts/make_deb $(if $(SUFFIX),--suffix $(SUFFIX))

deb-test: setup deb ## install, upgrade, remove and purge the packages on a clean Debian 12; as root
	@scripts/make_deb --suffix +later --out .cache/deb-later
	@$(PYTHON) -m pytest -q -rs -m packages tests/packaging/test_deb_install.py

clean: ## remove all that these commands made in this folder
	rm -rf .venv .venv-* .cache .*_cache .hypothesis .e2e-work demo-work bench-work fuzz-work build dist *.egg-info haclient/build haclient/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
