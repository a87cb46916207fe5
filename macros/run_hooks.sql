{#- on-run-start: the raw tables, the three tables that ml/ fills, empty until it has run, and the table
    that says what each run built. -#}
{% macro prepare_run() %}
    {% if execute and flags.WHICH in ['build', 'run', 'test', 'freshness', 'seed'] %}
        {% do check_command() %}
        {% if is_alone() %}{% do take_lock() %}{% endif %}
        {% do create_raw_tables() %}
        {% if is_run() %}{% do list_landing_folder() %}{% endif %}
        {% if flags.WHICH in ['build', 'run'] %}
            {% do check_landing_folder() %}
            {% do create_own_tables() %}
            {% do remember_what_is_unchanged() %}
        {% endif %}
    {% endif %}
{% endmacro %}


{#- on-run-end, whatever came of the run. -#}
{% macro end_run(results) %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% if flags.WHICH in ['build', 'run'] %}{% do end_build(results) %}{% endif %}
    {% if is_run() %}
        {% do run_in_turn([
            "drop view if exists " ~ landed_files(), "drop view if exists global_temp." ~ run_view()
        ]) %}
    {% endif %}
    {% if is_alone() %}{% do release_lock() %}{% endif %}
{% endmacro %}


{#- Runs statements in one SQL script: each by itself is a way to Spark and back. Iceberg's own can be in a
    script as text only. -#}
{% macro run_in_turn(statements) %}
    {% if not statements %}{{ return('') }}{% endif %}
    {% set script = ["begin"] %}
    {% for statement in statements %}
        {% set text = statement | replace("\\", "\\\\") | replace("'", "\\'") %}
        {% do script.append("    execute immediate '" ~ text ~ "';") %}
    {% endfor %}
    {% do run_query(script | join("\n") ~ "\nend") %}
{% endmacro %}


{% macro end_build(results) %}
    {% set built = [] %}
    {% for result in results if result.node.resource_type == 'model' and not is_unchanged(result.node) %}
        {% do built.append(result) %}
    {% endfor %}
    {% set versions = versions_of(table_nodes() + ml_sources()) if built else graph.last.versions %}
    {% set build = publish(results, versions) if flags.WHICH == 'build' %}
    {% if built %}{% do record_models(built, versions, build) %}{% endif %}
{% endmacro %}


{#- What cannot work, said in one sentence before Spark starts. Iceberg writes the path of the warehouse
    into its metadata, so it has to be absolute. -#}
{% macro check_command() %}
    {% set spark_home = env_var('SPARK_HOME', '') %}
    {% set environment = env_var('VIRTUAL_ENV', '') or flags.PROFILES_DIR ~ '/.venv' %}
    {% set reads_logs = flags.WHICH in ['build', 'run', 'test', 'freshness', 'seed'] %}
    {% if flags.WHICH in ['build', 'run', 'seed'] and (flags.EMPTY or invocation_args_dict.sample) %}
        {{ exceptions.raise_compiler_error(
            "--empty and --sample do not work here, as each table is made from all rows of those before it. To try "
            ~ "a change, build a small log in a warehouse of its own: "
            ~ "CHURN_WAREHOUSE=/tmp/warehouse dbt build --vars '{raw_path: data/sample}'"
        ) }}
    {% elif is_embedded() and not flags.PROFILES_DIR.startswith('/') %}
        {{ exceptions.raise_compiler_error(
            "--profiles-dir has to be an absolute path (or left out, in the folder of the project); "
            ~ "it is " ~ flags.PROFILES_DIR
        ) }}
    {% elif is_embedded() and spark_home and not spark_home.startswith(environment ~ '/') %}
        {{ exceptions.raise_compiler_error(
            "SPARK_HOME is " ~ spark_home ~ ", but the Spark of this project is in its environment: unset SPARK_HOME"
        ) }}
    {% elif reads_logs and (var('raw_path') is none or not var('raw_path') | string | trim) %}
        {{ exceptions.raise_compiler_error(
            "The var raw_path is empty: name the folder of your logs, as in dbt build --vars '{raw_path: /path/to/logs}'"
        ) }}
    {% elif reads_logs %}
        {% set landing = modules.re.sub('^file:', '', raw_location()) ~ '/' %}
        {% set warehouse = spark_settings().get('spark.sql.catalog.lake.warehouse') or 'none' %}
        {% for what, folder in {'project': flags.PROFILES_DIR, 'warehouse': warehouse}.items() %}
            {% if (plain_path(folder) ~ '/').startswith(landing) %}
                {{ exceptions.raise_compiler_error(
                    "The landing folder " ~ landing ~ " holds the " ~ what ~ " as well, which is " ~ folder
                    ~ ". Name one that holds logs only: dbt build --vars '{raw_path: /path/to/logs}'"
                ) }}
            {% endif %}
        {% endfor %}
    {% endif %}
{% endmacro %}


{#- Before the first statement. Where the warehouse's folder is missing, Spark makes it, as its own catalog is
    in it; SQLite, which has the catalog of tables, would fail. -#}
{% macro open_warehouse() %}
    {% do check_command() %}
    {% if is_embedded() %}{% do run_query('show namespaces in spark_catalog') %}{% endif %}
{% endmacro %}


{% macro create_own_tables() %}
    {% set churn_scores %}
        create table if not exists {{ source('ml', 'churn_scores') }} (
            model_run_id string,
            snapshot_date date,
            user_id string,
            churn_probability double,
            reason_1 string,
            reason_2 string,
            reason_3 string,
            scored_at timestamp
        )
        using iceberg
        partitioned by (snapshot_date)
    {% endset %}
    {% set model_runs %}
        create table if not exists {{ source('ml', 'model_runs') }} (
            model_run_id string,
            model_name string,
            trained_at timestamp,
            horizon_days int,
            train_first_snapshot_date date,
            train_last_snapshot_date date,
            tune_last_snapshot_date date,
            test_first_snapshot_date date,
            test_last_snapshot_date date,
            cohort string,
            metric string,
            value double,
            low double,
            high double,
            is_chosen boolean
        )
        using iceberg
    {% endset %}
    {% set served_model %}
        create table if not exists {{ source('ml', 'served_model') }} (
            model_run_id string,
            snapshot_date date,
            served_at timestamp
        )
        using iceberg
    {% endset %}
    {% set model_builds %}
        create table if not exists {{ source('audit', 'model_builds') }} (
            invocation_id string,
            command string,
            build_name string,
            started_at timestamp,
            model_name string,
            status string,
            seconds double,
            change string,
            total_rows bigint,
            snapshot_id bigint,
            is_published boolean
        )
        using iceberg
    {% endset %}
    {#- clients of the server begin in `default` -#}
    {% do run_in_turn([
        "create schema if not exists default",
        "create schema if not exists " ~ source('ml', 'churn_scores').schema,
        churn_scores,
        model_runs,
        served_model,
        model_builds,
    ]) %}
{% endmacro %}


{#- One row per model that this run built, or tried to, in one commit. Rows and kind of change are those
    that the tables' own metadata has, so nothing is counted. -#}
{% macro record_models(built, versions, build) %}
    {% set start = "timestamp '" ~ run_started_at.strftime('%Y-%m-%d %H:%M:%S') ~ "'" %}
    {% set rows, snapshots = [], [
        "select bigint(null) as snapshot_id, bigint(null) as parent_id, timestamp(null) as committed_at,"
        ~ " cast(null as map<string, string>) as summary"
    ] %}
    {% for result in built %}
        {% set node = result.node %}
        {% set snapshot = versions.get(node.unique_id, {}).get('main') if result.status | string == 'success' %}
        {% do rows.append(
            "('" ~ node.name ~ "', '" ~ result.status ~ "', " ~ result.execution_time | round(3) ~ "D, " ~ (snapshot or 'null') ~ ")"
        ) %}
        {% if snapshot %}
            {% do snapshots.append(
                "select snapshot_id, parent_id, committed_at, summary from " ~ table_name(node) ~ ".snapshots"
                ~ " where snapshot_id = " ~ snapshot
            ) %}
        {% endif %}
    {% endfor %}
    {% call statement('record_models') %}
        insert into {{ source('audit', 'model_builds') }}
        select /*+ coalesce(1) */
            '{{ invocation_id }}',
            '{{ flags.WHICH }}',
            {{ "'" ~ build ~ "'" if build else 'null' }},
            {{ start }},
            models.model_name,
            models.status,
            models.seconds,
            case
                when snapshots.committed_at < {{ start }} then 'unchanged'
                when snapshots.parent_id is null and snapshots.snapshot_id is not null then 'replaced'
                when snapshots.snapshot_id is not null then 'updated'
            end,
            cast(snapshots.summary['total-records'] as bigint),
            snapshots.snapshot_id,
            {{ 'true' if build else 'false' }}
        from values {{ rows | join(', ') }} as models (model_name, status, seconds, snapshot_id)
        left join ({{ snapshots | join(' union all ') }}) as snapshots
            on models.snapshot_id = snapshots.snapshot_id
    {% endcall %}
{% endmacro %}


{#- Settings of the wide table. No shuffle before the write: a log is in time order, so a task
    meets few dates, and an open file per date is cheaper than moving every row. -#}
{% macro event_table_properties() %}
    {{ return({
        'write.distribution-mode': 'none',
        'write.spark.fanout.enabled': 'true',
        'write.parquet.compression-codec': 'zstd',
        'write.parquet.compression-level': '1',
        'write.parquet.row-group-size-bytes': '33554432',
        'write.metadata.metrics.default': 'none',
        'write.metadata.metrics.column.event_at': 'full',
        'write.metadata.metrics.column.source_file': 'full',
    }) }}
{% endmacro %}
