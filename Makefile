# KalamDB's commands. `make help` lists them; `make run` and `make test` also install what they need.

SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/kalamdb/target
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run build test fmt lint deps tidy check pg-compat drivers bench crash faults chat fuzz

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## Install what building needs: libclang (RocksDB's bindings) and mold (the linker)
	@ci/setup build

build: setup ## Build the release server
	cargo build --release --workspace --locked --bins

run: build ## Build and start the server on 127.0.0.1:5432 with ./data; more flags in ARGS="..."
	"$$CARGO_TARGET_DIR/release/kalamdb-server" $(ARGS)

fmt: ## Format the code
	cargo fmt --all

lint: setup ## Formatting, clippy and documentation, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@cp Cargo.lock ci/fuzz/ && cargo clippy --manifest-path ci/fuzz/Cargo.toml --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

deps: ## The crates keep to their boundaries
	@ci/deps

tidy: ## The habits that a machine can check
	@ci/tidy

test: lint deps tidy ## Everything that needs no PostgreSQL: lint, deps, tidy, all tests
	cargo test --workspace --locked

pg-compat: setup ## Run the scripts marked pg_compat against a private PostgreSQL 15
	@ci/pg_compat

drivers: setup ## Run the driver programs of testdata/drivers against the server
	@ci/drivers $(ARGS)

bench: setup ## The server beside PostgreSQL 15: ours, PostgreSQL's, ratio; parts in ARGS="..."
	@ci/bench $(ARGS)

crash: setup ## kill -9 under concurrent writes; ROUNDS=50 for the long form
	@ci/crash $(ARGS)

faults: setup ## A disk under the server that fails to sync, and one that is full
	@ci/faults/run

chat: setup ## The chat page of examples/chat in headless Chromium
	@ci/chat

fuzz: setup ## libFuzzer on decoder, connection, parser and session; seconds for each in ARGS="300"
	@ci/fuzz/run $(ARGS)
