# Everything a person types. `make` alone lists it.

.DEFAULT_GOAL := help
# Queries were checked when .sqlx was made: a build must not look into whatever DATABASE_URL names.
export SQLX_OFFLINE := true
.PHONY: help run test check bench prepare clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: ## build, start on an embedded PostgreSQL, deploy the demo apps, print the URLs
	@scripts/install run
	@cargo build --release --package picloud
	@exec scripts/demo

test: ## run every test
	@scripts/install test
	@scripts/test

check: ## format, lints, docs, query metadata: what a reviewer would otherwise have to say
	@scripts/install test
	@scripts/check

bench: ## measure against this machine's limits and print a table
	@scripts/install bench
	@scripts/bench

prepare: ## refresh .sqlx after changing a query or a migration
	@scripts/prepare

clean: ## remove what was built and the demo's data
	@cargo clean --quiet
	@rm -rf .picloud
