{#- on-run-start: the raw tables, and the two tables that ml/ fills, empty until it has run. -#}
{% macro prepare_run() %}
    {% if execute and flags.WHICH in ['build', 'run', 'test', 'freshness', 'seed'] %}
        {% do check_warehouse_path() %}
        {% do create_raw_tables() %}
        {% if is_run() %}{% do list_landing_folder() %}{% endif %}
        {% if flags.WHICH in ['build', 'run'] %}
            {% do check_landing_folder() %}
            {% do take_lock() %}
            {% do create_ml_tables() %}
            {% do remember_what_is_unchanged() %}
        {% endif %}
    {% endif %}
{% endmacro %}


{#- on-run-end, whatever came of the run. -#}
{% macro end_run(results) %}
    {% if not execute or flags.WHICH not in ['build', 'run'] %}{{ return('') }}{% endif %}
    {% set built = [] %}
    {% for result in results if result.node.resource_type == 'model' and not is_unchanged(result.node) %}
        {% do built.append(result) %}
    {% endfor %}
    {% set versions = versions_of(table_nodes() + ml_sources()) if built else graph.last.versions %}
    {% if flags.WHICH == 'build' %}{% do publish(results, versions) %}{% endif %}
    {% do release_lock() %}
{% endmacro %}


{#- Iceberg writes the path of the warehouse into its metadata, so it has to be absolute. -#}
{% macro check_warehouse_path() %}
    {% if is_embedded() and not flags.PROFILES_DIR.startswith('/') %}
        {{ exceptions.raise_compiler_error(
            "--profiles-dir has to be an absolute path (or left out, in the folder of the project); "
            ~ "it is " ~ flags.PROFILES_DIR
        ) }}
    {% endif %}
{% endmacro %}


{% macro create_ml_tables() %}
    {% do run_query("create schema if not exists " ~ source('ml', 'churn_scores').schema) %}
    {% call statement('create_churn_scores') %}
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
    {% endcall %}
    {% call statement('create_model_runs') %}
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
