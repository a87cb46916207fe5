#!/bin/sh
# Checks of style, and of what the project promises of itself. All of them run; one failure fails
# the whole. `make lint` runs it; `sh tools/lint.sh manifest` runs the part about models alone.
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
export PATH
failed=

step() {  # <name> <command ...>
    name=$1
    shift
    printf -- '--- %s\n' "$name"
    "$@" || failed="$failed $name"
}

# sqlfluff lets dbt compile the models. An empty warehouse makes that the same on every machine, and
# a folder of its own keeps dbt's parsed project as it is. A file that does not compile is skipped
# with status 0: here that is a failure. Java, of which little is asked here, learns for no cache.
sql() {
    folder=$(mktemp -d) && mkdir "$folder/warehouse" || return 1
    export CHURN_WAREHOUSE="$folder/warehouse" DBT_TARGET_PATH="$folder/target" CHURN_LEARN=off
    status=0
    sqlfluff lint --processes 0 --disable-progress-bar models tests analyses report \
        >"$folder/out" 2>&1 || status=$?
    sqlfluff lint --disable-progress-bar --config examples/podcasts/.sqlfluff examples \
        >>"$folder/out" 2>&1 || status=$?
    unset CHURN_WAREHOUSE DBT_TARGET_PATH CHURN_LEARN
    grep -v 'dbt templater' "$folder/out" | head -n 200
    ! grep -qE 'Skipped file|was not found in dbt project' "$folder/out" || status=1
    rm -rf "$folder"
    return "$status"
}

# Descriptions, contracts, grain tests: dbt-bouncer.yml.
manifest() {
    dbt --quiet parse || return 1
    if [ -x .venv/bin/dbt-bouncer ]; then
        COLUMNS=${COLUMNS:-160} dbt-bouncer run --show-all-failures
    else
        echo "skipped: dbt-bouncer needs Python 3.11 or later, .venv has $(python -V)"
    fi
}

# What dbt v2 will refuse. It has no `session` method, so its parser gets a profile of its own; the
# form of metrics that it warns of is the one that dbt 1.11 has.
v2() {
    if ! command -v dbt-core-experimental-parser >/dev/null; then
        echo "skipped: there is no parser of dbt v2 for this machine"
        return 0
    fi
    folder=$(mktemp -d) || return 1
    printf '%s\n' 'churn_at_scale:' '  target: local' '  outputs:' '    local:' \
        '      {type: spark, method: spark-connect, host: localhost, schema: churn, threads: 1}' \
        >"$folder/profiles.yml"
    status=0
    DBT_ALLOW_EXPERIMENTAL_ADAPTERS=true RUST_BACKTRACE=0 dbt-core-experimental-parser parse \
        --quiet --no-version-check --no-send-anonymous-usage-stats --profiles-dir "$folder" \
        --warn-error-options '{silence: [SemanticModelDeprecated]}' --target local \
        --target-path "$folder/target" --log-path "$folder/logs" || status=$?
    rm -rf "$folder"
    return "$status"
}

if [ "${1:-}" != manifest ]; then
    step ruff ruff check .
    step ruff-format ruff format --check .
    step mypy mypy
    step yamllint yamllint --strict .
    step words python -m tools.check_words
    step cfn-lint cfn-lint deploy/emr/template.yaml deploy/emr/cluster.yaml
    step sqlfluff sql
fi
step manifest manifest
step dbt-v2 v2

[ -z "$failed" ] || { echo "lint failed:$failed" >&2; exit 1; }
echo "lint passed"
