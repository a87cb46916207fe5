{#-
    How tables are written. A model of the materialization `tracked` is left as it is, updated or made as a
    whole, as its plan says (changes.sql), in one commit that also says what it is made from (origins.sql).
-#}

{% materialization tracked, adapter='spark' %}
    {% do renew_lock() %}
    {% set plan = plan_of(model) %}
    {% if plan.kind == 'keep' %}
        {% do store_raw_result('main', message='unchanged', code='OK', rows_affected=0) %}
    {% else %}
        {% do set_origin(model, plan.origin) %}
        {{ run_hooks(pre_hooks) }}
        {% do take_back_changed_files(plan) %}
        {% set query = rebuild_query(plan) if plan.kind == 'rebuild' else update_query(plan) %}
        {% call statement('main') %}{{ query }}{% endcall %}
        {{ run_hooks(post_hooks) }}
        {% do remember_built(model, plan.origin) %}
    {% endif %}
    {{ return({'relations': [this]}) }}
{% endmaterialization %}


{#- dbt's own drops a seed before it is made again, and puts texts in quotes as they are. -#}
{% materialization seed, adapter='spark' %}
    {% set seed, origin = load_agate_table(), [own_code(model)] + ['-'] * 4 %}
    {% do store_result('agate_table', response='OK', agate_table=seed) %}
    {% if origin_of(model.unique_id) == origin and not flags.FULL_REFRESH %}
        {% do store_raw_result('main', message='unchanged', code='OK', rows_affected=0) %}
    {% else %}
        {% do set_origin(model, origin) %}
        {% call statement('main') %}
            create or replace table {{ this }} using iceberg as
            select * from values {{ seed_rows(seed) }} as seed ({{ seed.column_names | join(', ') }})
        {% endcall %}
        {% do remember_built(model, origin) %}
    {% endif %}
    {{ return({'relations': [this]}) }}
{% endmaterialization %}


{% macro seed_rows(seed) %}
    {% set rows = [] %}
    {% for row in seed.rows %}
        {% set values = [] %}
        {% for name in seed.column_names %}
            {% set value = "null" if row[name] is none else sql_string(row[name] | string) %}
            {% do values.append("cast(" ~ value ~ " as " ~ model.config.column_types[name] ~ ")") %}
        {% endfor %}
        {% do rows.append("(" ~ values | join(', ') ~ ")") %}
    {% endfor %}
    {{ return(rows | join(', ')) }}
{% endmacro %}


{#- dbt's own makes a view at each build, which takes Spark longer than many a table. -#}
{% materialization view, adapter='spark' %}
    {% do renew_lock() %}
    {% set query = in_order(model, compiled_code) %}
    {% set code = local_md5(([view_statement(this, model, query)] + codes_of_parents(model)) | join(' ')) %}
    {% if flags.FULL_REFRESH or view_code(this) != code %}
        {% set there = load_relation(this) %}
        {% if there and there.is_table %}{% do adapter.drop_relation(there) %}{% endif %}
        {{ get_assert_columns_equivalent(compiled_code) if has_contract(model) }}
        {% call statement('main') %}{{ view_statement(this, model, query, code) }}{% endcall %}
        {% do graph.run.view_codes.update({this | string: code}) %}
    {% else %}
        {% do store_raw_result('main', message='unchanged', code='OK', rows_affected=0) %}
    {% endif %}
    {{ return({'relations': [this]}) }}
{% endmaterialization %}


{#- The codes that the tables and views below a node were made by: they decide the columns, which new rows leave
    as they are. -#}
{% macro codes_of_parents(node) %}
    {% set codes = [] %}
    {% for id in node.depends_on.nodes if id in graph.nodes %}
        {% set parent = graph.nodes[id] %}
        {% set view = api.Relation.create(schema=parent.schema, identifier=parent.alias) %}
        {% do codes.append(view_code(view) if is_view(parent) else (origin_of(id) or [none])[0]) %}
    {% endfor %}
    {{ return(codes) }}
{% endmacro %}


{#- What a view says of the code that it was made by; none where there is no such view. Each is asked once. -#}
{% macro view_code(view) %}
    {% set key, names = 'views of ' ~ view.schema, [] %}
    {% if key not in graph.run %}
        {% for row in run_query("show views in " ~ view.schema).rows if not row[2] %}{% do names.append(row[1]) %}{% endfor %}
        {% do graph.run.update({key: names}) %}
    {% endif %}
    {% if view | string not in graph.run.view_codes %}
        {% set code = run_query("show tblproperties " ~ view.schema ~ "." ~ view.identifier ~ " ('churn.code')").rows[0][1]
            if view.identifier in graph.run[key] %}
        {% do graph.run.view_codes.update({view | string: code or none}) %}
    {% endif %}
    {{ return(graph.run.view_codes[view | string]) }}
{% endmacro %}


{#- A query with the columns of a model in the order of its contract; without one, those of the query itself: a
    table of the same code has the same. -#}
{% macro in_order(node, query) %}
    {{ return("select " ~ (node.columns | join(', ') if has_contract(node) else "*") ~ " from (" ~ query ~ "\n)") }}
{% endmacro %}


{#- Marts and staging list all their columns; private models describe those that need it. -#}
{% macro has_contract(node) %}{{ return(node.config.contract.enforced) }}{% endmacro %}


{#- With the descriptions of the model and its columns, for readers who have a SQL client and not dbt's docs. An
    example query is for the docs alone. -#}
{% macro view_statement(view, node, query, code=none, names=none) %}
    {% set columns = [] %}
    {% for name in names or (node.columns if has_contract(node) else []) %}
        {% do columns.append("`" ~ name ~ "`" ~ comment(node.columns.get(name, {}).get('description'), 255)) %}
    {% endfor %}
    {{ return("create or replace view " ~ view ~ (" (" ~ columns | join(', ') ~ ")" if columns) ~ comment(node.description.split('```')[0])
        ~ (" tblproperties ('churn.code' = '" ~ code ~ "')" if code) ~ " as " ~ query) }}
{% endmacro %}


{#- Each node of dbt has a session of its own over Thrift; else all share one. -#}
{% macro set_origin(node, origin) %}
    {% do run_query("set `spark.sql.iceberg.snapshot-property." ~ origin_key(node) ~ "` = " ~ origin | join(' ')) %}
{% endmacro %}


{#- For the nodes after this one. Those need the snapshots of `base_events` itself. What else this session
    commits to the table is none of dbt's making. -#}
{% macro remember_built(node, origin) %}
    {% do run_query("reset `spark.sql.iceberg.snapshot-property." ~ origin_key(node) ~ "`") %}
    {% do graph.run.built.append(node.unique_id) %}
    {% if node.unique_id == model_id('log_calendar') %}{% do graph.run.pop('log_dates', none) %}{% endif %}
    {% if node.unique_id == model_id('base_events') %}
        {% do read_versions([node], are_there=true) %}
    {% else %}
        {% set version = graph.run.versions[node.unique_id] %}
        {% do version.tags.update({'main': 'built'}) %}
        {% do version.commits.update({'built': {'parent': none, 'operation': 'overwrite', 'origin': origin | join(' ')}}) %}
    {% endif %}
{% endmacro %}


{#- In one commit, so that a build that fails or is killed leaves the table as it was. -#}
{% macro rebuild_query(plan) %}
    {% set is_there = load_relation(this) is not none %}
    {% if not is_there %}{% do run_query("drop view if exists " ~ this) %}{% endif %}
    {% set kept = lines_of_vanished_files() if is_there and plan.files is defined and not flags.FULL_REFRESH %}
    {{ return(create_table_as(False, this, new_rows("select * from (" ~ compiled_code ~ ") union all " ~ kept if kept else compiled_code))) }}
{% endmacro %}


{#- The new rows in the place of those of the changed partitions: one commit, also where a partition has no row
    left. Files are added, and so are new rows of a table of users. -#}
{% macro update_query(plan) %}
    {% set partition, is_added_to = model.config.partition_by, updated_by(model) in ['files', 'users'] %}
    insert into {{ this }} {{ "by name" if is_added_to else "replace where " ~ (in_changed(partition[0]) if partition else 'true') }}
    {{ in_order(model, new_rows(compiled_code)) }}
{% endmacro %}


{% macro new_rows(query) %}
    {{ return(without_forgotten_users(query) if model.unique_id == model_id('base_events') else query) }}
{% endmacro %}


{#- A kill between this and the load leaves files that the next build finds not loaded. -#}
{% macro take_back_changed_files(plan) %}
    {% set names = [] %}
    {% for file in plan.get('files', []) if file[3] %}{% do names.append(file[1]) %}{% endfor %}
    {% if names %}{% do run_query("delete from " ~ this ~ " where " ~ is_one_of('source_file', names)) %}{% endif %}
{% endmacro %}
