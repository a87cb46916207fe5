{#-
    dbt's own materializations, with three things added: a node that is as the last complete build left
    it is not built again, the incremental strategies `replace_changed` and `add_missing`, and a test
    that finds something shows some of it.
-#}

{% materialization table, adapter='spark' %}
    {{ return(leave_unchanged() or dbt.materialization_table_spark()) }}
{% endmaterialization %}


{% materialization view, adapter='spark' %}
    {{ return(leave_unchanged() or dbt.materialization_view_spark()) }}
{% endmaterialization %}


{#- dbt drops the table before a full refresh; as a table, it is replaced in one commit, so that a build
    that fails or is killed leaves it as it was, and earlier versions stay. -#}
{% materialization incremental, adapter='spark' %}
    {{ return(
        leave_unchanged()
        or (dbt.materialization_table_spark() if should_full_refresh() else dbt.materialization_incremental_spark())
    ) }}
{% endmaterialization %}


{% materialization seed, adapter='spark' %}
    {% if is_unchanged(model) %}
        {% do store_result('agate_table', response='OK', agate_table=load_agate_table()) %}
    {% endif %}
    {{ return(leave_unchanged() or dbt.materialization_seed_default()) }}
{% endmaterialization %}


{#- dbt-spark's own puts texts in quotes as they are: one apostrophe of a description breaks the build. -#}
{% macro spark__load_csv_rows(model, agate_table) %}
    {% set types, rows = model.config.column_types, [] %}
    {% for row in agate_table.rows %}
        {% set values = [] %}
        {% for name in agate_table.column_names %}
            {% set value = "null" if row[name] is none else sql_string(row[name] | string) %}
            {% do values.append("cast(" ~ value ~ " as " ~ types[name] ~ ")") %}
        {% endfor %}
        {% do rows.append("(" ~ values | join(', ') ~ ")") %}
    {% endfor %}
    {% set sql = "insert into " ~ this ~ " values " ~ rows | join(',\n') %}
    {% call statement('load_csv_rows') %}{{ sql }}{% endcall %}
    {{ return(sql) }}
{% endmacro %}


{% materialization test, adapter='spark' %}
    {% if is_unchanged(model) %}
        {% do store_raw_result('main', message='unchanged', code='OK', rows_affected='', agate_table=graph.last.passed) %}
        {{ return({'relations': []}) }}
    {% endif %}
    {% do renew_lock() %}
    {% set result = dbt.materialization_test_default() %}
    {% if load_result('main').table.rows[0]['failures'] | int > 0 %}{% do show_failures() %}{% endif %}
    {{ return(result) }}
{% endmaterialization %}


{#- What the same text has shown once need not be asked again, two queries per model each: that its
    columns are those of its contract, and those of its table. -#}
{% macro spark__get_assert_columns_equivalent(sql) %}
    {{ return('' if is_same_project() else dbt.default__get_assert_columns_equivalent(sql)) }}
{% endmacro %}


{% macro spark__process_schema_changes(on_schema_change, source_relation, target_relation) %}
    {{ return(
        {} if is_same_project() else dbt.default__process_schema_changes(on_schema_change, source_relation, target_relation)
    ) }}
{% endmacro %}


{% macro is_same_project() %}{{ return(graph.get('last', {}).get('is_same_project', false)) }}{% endmacro %}


{#- A unit test looks at the text of the project only. It sees no `graph` of the run: Spark tells it. -#}
{% materialization unit, adapter='spark' %}
    {% set differences = run_query(
        "select '' as actual_or_expected from global_temp." ~ run_view() ~ " where not is_same_project"
    ) if flags.WHICH == 'build' %}
    {% if flags.WHICH == 'build' and differences.rows | length == 0 %}
        {% do store_raw_result('main', message='unchanged', code='OK', rows_affected='', agate_table=differences) %}
        {{ return({'relations': []}) }}
    {% endif %}
    {{ return(dbt.materialization_unit_default()) }}
{% endmaterialization %}


{#- dbt's own line says how many rows a test found, not which: logs up to three, and keeps the first for
    the line that says why nothing was published. -#}
{% macro show_failures() %}
    {% set found = run_query("select * from (" ~ sql ~ "\n) limit 3") %}
    {% set messages = [] %}
    {% for row in found.rows %}
        {% if 'message' in found.column_names %}
            {% do messages.append(row['message']) %}
        {% else %}
            {% set values = [] %}
            {% for name in found.column_names %}{% do values.append(name ~ '=' ~ row[name]) %}{% endfor %}
            {% do messages.append(values | join(', ')) %}
        {% endif %}
        {% do log(model.name ~ ": " ~ messages | last, info=True) %}
    {% endfor %}
    {% do graph.setdefault('first_failures', {}).update({model.unique_id: messages[0]}) %}
{% endmacro %}


{% macro leave_unchanged() %}
    {% do renew_lock() %}
    {% if is_unchanged(model) %}
        {% do store_raw_result('main', message='unchanged', code='OK', rows_affected='') %}
        {{ return({'relations': [this]}) }}
    {% endif %}
    {{ return(none) }}
{% endmacro %}


{#- dbt asks this of every incremental model. What is made of `base_events` is made anew, in one
    commit, where the project changed, and where it cannot be told which rows lost lines count in. -#}
{% macro should_full_refresh() %}
    {% if dbt.should_full_refresh() %}{{ return(true) }}{% endif %}
    {% set strategy = config.get('incremental_strategy') %}
    {% if strategy not in own_strategies() %}{{ return(false) }}{% endif %}
    {% set found = changes() %}
    {{ return(found is none or (not config.get('partition_by') and found.has_lost_lines)) }}
{% endmacro %}


{% macro own_strategies() %}{{ return(['replace_changed', 'add_missing']) }}{% endmacro %}


{% macro dbt_spark_validate_get_incremental_strategy(raw_strategy, file_format) %}
    {{ return(
        raw_strategy if raw_strategy in own_strategies()
        else dbt.dbt_spark_validate_get_incremental_strategy(raw_strategy, file_format)
    ) }}
{% endmacro %}


{#-
    `replace_changed` puts the new rows in the place of those of the changed dates, or snapshots, by
    which the table is partitioned: one commit, also where a date has no row left. A table without
    partitions is replaced as a whole. `add_missing` appends.
-#}
{% macro dbt_spark_get_incremental_sql(strategy, source, target, existing, unique_key, incremental_predicates) %}
    {% if strategy not in own_strategies() %}
        {{ return(dbt.dbt_spark_get_incremental_sql(
            strategy, source, target, existing, unique_key, incremental_predicates
        )) }}
    {% endif %}
    {% set column = (config.get('partition_by') or [none])[0] %}
    {% if strategy == 'add_missing' %}
        {% set replaced = none %}
    {% elif column is none %}
        {% set replaced = 'true' %}
    {% else %}
        {% set replaced = is_changed(column) %}
    {% endif %}
    {% if replaced == 'false' %}
        {{ return('select 0') }}
    {% endif %}
    {% set columns = adapter.get_columns_in_relation(target) | map(attribute='quoted') | join(', ') %}
    insert into {{ target }} {{ "replace where " ~ replaced if replaced }}
    select {{ columns }} from {{ source }}
{% endmacro %}
