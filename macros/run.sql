{#- on-run-start: the lock, the raw tables, the tables that are no models, and the state of all tables. -#}
{% macro prepare_run() %}
    {% if not execute or flags.WHICH not in ['build', 'run', 'seed', 'test', 'freshness'] %}{{ return('') }}{% endif %}
    {% do check_command() %}
    {% if is_writer() %}{% do take_lock() %}{% endif %}
    {% if flags.WHICH != 'seed' %}{% do create_raw_tables() %}{% endif %}
    {% if is_run() %}{% do list_landing_folder() %}{% endif %}
    {% if flags.WHICH in ['build', 'run', 'seed'] %}
        {% do create_own_tables() %}
        {% do read_state() %}
        {% do finish_publishing() %}
    {% endif %}
    {% if flags.WHICH in ['build', 'run'] %}{% do check_landing_folder() %}{% endif %}
{% endmacro %}


{#- on-run-end, whatever came of the run. -#}
{% macro end_run(results) %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% if flags.WHICH == 'test' %}{% do show_findings(results) %}{% endif %}
    {% set build = publish(results) if flags.WHICH in ['build', 'run'] and graph.get('run') %}
    {% if graph.get('run') %}{% do record_models(results, build) %}{% endif %}
    {% if is_run() %}{% do run_query("drop view if exists " ~ landed_files()) %}{% endif %}
    {% if is_writer() %}{% do release_lock() %}{% endif %}
{% endmacro %}


{#- Gives the lock back, and ends the run with one sentence. -#}
{% macro stop(sentence) %}
    {% if is_writer() %}{% do release_lock() %}{% endif %}
    {{ exceptions.raise_compiler_error(sentence) }}
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


{#- What cannot work, said in one sentence before Spark starts. Iceberg writes the path of the warehouse into
    its metadata, so it has to be absolute. -#}
{% macro check_command() %}
    {% set environment = env_var('VIRTUAL_ENV', '') or flags.PROFILES_DIR ~ '/.venv' %}
    {% set spark_home = env_var('SPARK_HOME', environment ~ '/') %}
    {% set sentence %}
        {%- if is_writer() and (flags.EMPTY or invocation_args_dict.sample) -%}
            --empty and --sample do not work here, as each table is made from all rows of those before it. To try a
            change, build a small log in a warehouse of its own: CHURN_WAREHOUSE=/tmp/warehouse dbt build
            --vars '{raw_path: data/sample}'
        {%- elif is_embedded() and not flags.PROFILES_DIR.startswith('/') -%}
            --profiles-dir has to be an absolute path (or left out, in the folder of the project); it is
            {{ flags.PROFILES_DIR }}
        {%- elif is_embedded() and spark_home and not spark_home.startswith(environment ~ '/') -%}
            SPARK_HOME is {{ spark_home }}, but the Spark of this project is in its environment: unset SPARK_HOME
        {%- elif flags.WHICH in ['build', 'run', 'test', 'freshness', 'seed'] -%}
            {{ check_raw_path() }}
        {%- endif -%}
    {% endset %}
    {% if sentence.strip() %}{{ exceptions.raise_compiler_error(sentence.split() | join(' ')) }}{% endif %}
{% endmacro %}


{#- What is wrong with the landing folder, by its name alone; nothing where it can be one. -#}
{% macro check_raw_path() %}
    {%- set hint = "dbt build --vars '{raw_path: /path/to/logs}'" -%}
    {%- if var('raw_path') is none or not var('raw_path') | string | trim -%}
        {{ return("The var raw_path is empty: name the folder of your logs, as in " ~ hint) }}
    {%- endif -%}
    {%- set landing = modules.re.sub('^file:', '', raw_location()) ~ '/' -%}
    {%- set warehouse = spark_settings().get('spark.sql.catalog.lake.warehouse') or 'none' -%}
    {%- for what, folder in {'project': flags.PROFILES_DIR, 'warehouse': warehouse}.items() -%}
        {%- if (plain_path(folder) ~ '/').startswith(landing) -%}
            {{ return("The landing folder " ~ landing ~ " holds the " ~ what ~ " as well, which is " ~ folder
                ~ ". Name one that holds logs only: " ~ hint) }}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{#- Before the first statement. Where the warehouse's folder is missing, Spark makes it, as its own catalog is
    in it; SQLite, which has the catalog of tables, would fail. -#}
{% macro open_warehouse() %}
    {% do check_command() %}
    {% if is_embedded() %}{% do run_query('show namespaces in spark_catalog') %}{% endif %}
{% endmacro %}


{#- Tables that `ml/` and builds write, empty at first: their columns are those of _sources.yml. Clients of the
    server begin in `default`. -#}
{% macro create_own_tables() %}
    {% set statements = ["create schema if not exists default"] %}
    {% for node in graph.sources.values() if node.source_name in ['ml', 'audit'] %}
        {% set columns = [] %}
        {% for name, column in node.columns.items() %}{% do columns.append(name ~ " " ~ column.data_type) %}{% endfor %}
        {% do statements.append("create schema if not exists " ~ node.schema) %}
        {% do statements.append(
            "create table if not exists " ~ table_name(node) ~ " (" ~ columns | join(', ') ~ ") using iceberg"
            ~ (" partitioned by (" ~ node.config.meta.partition_by ~ ")" if node.config.meta)
        ) %}
    {% endfor %}
    {% do run_in_turn(statements | unique | list) %}
{% endmacro %}


{#- One row per table that this run built, or tried to, in one commit. Rows and kind of change are those that the
    tables' own metadata has, so nothing is counted. -#}
{% macro record_models(results, build) %}
    {% set rows = [] %}
    {% for result in results if result.node.config.materialized == 'tracked' %}
        {% set start = "select '" ~ result.node.name ~ "' as model_name, '" ~ result.status ~ "' as status, "
            ~ result.execution_time | round(3) ~ "D as seconds, max_by(struct(snapshot_id, parent_id, summary), committed_at) as version from " %}
        {% set is_built = result.node.unique_id in graph.run.built %}
        {% if is_built or result.status | string != 'success' %}
            {% do rows.append(start ~ (table_name(result.node) ~ ".snapshots" if is_built else no_snapshots())) %}
        {% endif %}
    {% endfor %}
    {% if not rows %}{{ return('') }}{% endif %}
    {% call statement('record_models') %}
        insert into {{ source('audit', 'model_builds') }}
        select /*+ coalesce(1) */
            '{{ invocation_id }}', '{{ flags.WHICH }}', {{ "'" ~ build ~ "'" if build else 'null' }},
            timestamp '{{ run_started_at.strftime('%Y-%m-%d %H:%M:%S') }}', model_name, status, seconds,
            case when version.parent_id is not null then 'updated' when version.snapshot_id is not null then 'replaced' end,
            bigint(version.summary['total-records']), version.snapshot_id, {{ 'true' if build else 'false' }}
        from ({{ rows | join(' union all ') }})
    {% endcall %}
{% endmacro %}


{% macro no_snapshots() %}
    {{ return("(select bigint(null) as snapshot_id, bigint(null) as parent_id, cast(null as map<string, string>) as summary, "
        ~ "timestamp(null) as committed_at)") }}
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
