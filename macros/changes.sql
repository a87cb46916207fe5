{#-
    What a build has to do to each table, from what it was made from and would be made from now: `keep` it;
    `update` it, as only the dates that changed are read and replaced; or `rebuild` it. Models say by their
    `meta.updated_by` what follows from a changed date: `days`, `weeks` or `months` of their partition,
    `snapshots` that see it, or `users` for a table without partitions; `files` are loaded once. A model
    without the setting is always made as a whole.
-#}

{#- The plan of a model of this run: `kind`, `origin`, and for an update `changes`. None outside of a run. -#}
{% macro plan_of(node) %}
    {% if not execute or not graph.get('run') or flags.WHICH not in ['build', 'run'] %}{{ return(none) }}{% endif %}
    {% if node.unique_id not in graph.run.plans %}
        {% do graph.run.plans.update({node.unique_id: file_plan(node) if updated_by(node) == 'files' else date_plan(node)}) %}
    {% endif %}
    {{ return(graph.run.plans[node.unique_id]) }}
{% endmacro %}


{% macro date_plan(node) %}
    {% set old, new = origin_of(node.unique_id), origin_from_parents(node) %}
    {% if flags.FULL_REFRESH or not old or old[0] != new[0] or 'unknown' in new %}
        {{ return({'kind': 'rebuild', 'origin': new}) }}
    {% elif old == new %}
        {{ return({'kind': 'keep', 'origin': new}) }}
    {% endif %}
    {% set changes = changes_between(old, new) %}
    {% if changes and old[2:] == new[2:] and not changes.dates and not changes.is_undated_changed %}
        {{ return({'kind': 'keep', 'origin': old}) }}
    {% endif %}
    {#- without partitions it cannot be told which rows the lines that are gone count in -#}
    {% set is_update = changes and updated_by(node) and (node.config.partition_by or not changes.has_lost_lines) %}
    {{ return({'kind': 'update' if is_update else 'rebuild', 'origin': new, 'changes': changes}) }}
{% endmacro %}


{#-
    `dates` whose lines changed from one origin to another, oldest first; `is_undated_changed`, whether lines
    without a date did; `has_lost_lines`, whether lines are gone; `first_snapshot`, the earliest churn
    snapshot whose features or labels may have changed. None where this cannot be told. The metadata of
    `base_events` tells which partitions got or lost files; no event is read.
-#}
{% macro changes_between(old, new) %}
    {% set key = (old[1:] + new[1:]) | join(' ') %}
    {% if key not in graph.run.changes %}
        {% set commits = commits_between(old[1], new[1]) %}
        {% do graph.run.changes.update({key: none if commits is none or 'none' in old[2:] + new[2:]
            else changes_of(commits, old, new)}) %}
    {% endif %}
    {{ return(graph.run.changes[key]) }}
{% endmacro %}


{#- Snapshots of `base_events` after one up to another, but for compactions; none where it is not before it. -#}
{% macro commits_between(old, new) %}
    {% set id, found, commits = model_id('base_events'), [], [] %}
    {% for snapshot in ancestors(id) %}
        {% if snapshot == new %}{% do found.append('new') %}{% endif %}
        {% if snapshot == old and found %}{{ return(commits) }}{% endif %}
        {% set commit = graph.run.versions[id].commits[snapshot] %}
        {% if found and commit.operation != 'replace' %}{% do commits.append(snapshot) %}{% endif %}
        {% if found and commit.parent == old %}{{ return(commits) }}{% endif %}
    {% endfor %}
    {{ return(none) }}
{% endmacro %}


{% macro changes_of(commits, old, new) %}
    {% set rows = run_query(
        "select distinct string(data_file.partition.event_date), status = 2 from "
        ~ table_name(graph.nodes[model_id('base_events')]) ~ ".all_entries where status <> 0 and snapshot_id in ("
        ~ commits | join(', ') ~ ")"
    ).rows | map('list') | list if commits else [] %}
    {% for date in (log_dates() if old[2:4] != new[2:4] else []) %}
        {% set was_in, is_in = old[2] <= date[0] <= old[3], new[2] <= date[0] <= new[3] %}
        {% if was_in != is_in %}{% do rows.append([date[0], was_in]) %}{% endif %}
    {% endfor %}
    {% set dates = rows | map(attribute=0) | select | unique | sort %}
    {{ return({
        'dates': dates,
        'is_undated_changed': none in rows | map(attribute=0) | list,
        'has_lost_lines': true in rows | map(attribute=1) | list,
        'first_snapshot': first_changed_snapshot(dates, old, new) if new[2] != '-',
    }) }}
{% endmacro %}


{#- An event is in the features of the snapshots after it and in the labels of the ten up to its date; a
    date that became complete lets labels mature; a date that the log has more is a snapshot more. -#}
{% macro first_changed_snapshot(dates, old, new) %}
    {% set firsts = [add_days([old[4], new[4]] | min, -8), add_days([old[3], new[3]] | min, 1)] %}
    {{ return((firsts + ([add_days(dates[0], -9)] if dates else [])) | min) }}
{% endmacro %}


{% macro add_days(text, days) %}
    {% set date = modules.datetime.datetime.strptime(text, '%Y-%m-%d').date() %}
    {{ return((date + modules.datetime.timedelta(days=days)) | string) }}
{% endmacro %}


{#- Whether the model that is compiled reads the rows that it has, `this`. -#}
{% macro is_update() %}
    {% set plan = plan_of(model) %}
    {{ return(plan is not none and plan.kind == 'update') }}
{% endmacro %}


{#- Condition of a model on a date, or for snapshots on a snapshot date: whether a build has to read it, and
    replaces its rows. -#}
{% macro in_changed(column, days_before=0) -%}
    {%- set plan = plan_of(model) -%}
    {%- if plan is none or plan.kind == 'rebuild' -%}
        true
    {%- elif plan.kind == 'keep' -%}
        false
    {%- else -%}
        {{ among(column, plan.changes, updated_by(model), days_before) }}
    {%- endif -%}
{%- endmacro %}


{% macro among(column, changes, update='days', days_before=0) -%}
    {%- if update == 'snapshots' -%}
        {{ column }} >= date '{{ add_days(changes.first_snapshot, -days_before) }}'
    {%- else -%}
        {%- set dates = whole_periods(changes.dates, update) -%}
        {{ "(" ~ column ~ " is null or " if changes.is_undated_changed }}
        {{- column ~ " in (date '" ~ dates | join("', date '") ~ "')" if dates else "false" }}
        {{- ")" if changes.is_undated_changed }}
    {%- endif -%}
{%- endmacro %}


{#- All dates of the ISO weeks, or months, of these dates. -#}
{% macro whole_periods(dates, update) %}
    {% if update not in ['weeks', 'months'] %}{{ return(dates) }}{% endif %}
    {% set days = [] %}
    {% for text in dates %}
        {% set date = modules.datetime.datetime.strptime(text, '%Y-%m-%d').date() %}
        {% set first = add_days(text, -date.weekday() if update == 'weeks' else 1 - date.day) %}
        {% for n in range(7 if update == 'weeks' else 31) %}
            {% set day = add_days(first, n) %}
            {% if update == 'weeks' or day[:7] == text[:7] %}{% do days.append(day) %}{% endif %}
        {% endfor %}
    {% endfor %}
    {{ return(days | unique | sort) }}
{% endmacro %}


{#- Condition of a model on users: those with an event on a changed date. A set of all that a user ever did
    grows with the log, and this leaves out whoever was away. -#}
{% macro is_changed_user(column) -%}
    {{ column }} in (
        select user_id from {{ table_name(graph.nodes[model_id('int_session_parts')]) }}
        where {{ in_changed('activity_date') }}
    )
{%- endmacro %}


{#-
    The same for tests of a build: they look at what changed since the version that readers see, as all
    before it has passed; `dbt test` looks at all rows. Without a column the test looks at all rows, or at
    none where nothing changed.
-#}
{% macro in_tested(column=none, update='days') -%}
    {%- set changes = tested_changes() -%}
    {%- if changes is none -%}
        true
    {%- elif not changes -%}
        false
    {%- elif column is none -%}
        true
    {%- else -%}
        {{ among(column, changes, update) }}
    {%- endif -%}
{%- endmacro %}


{% macro is_tested_user(column) -%}
    {%- set changes = tested_changes() -%}
    {%- if not changes or changes.has_lost_lines -%}
        {{ 'true' if changes is none or changes else 'false' }}
    {%- else -%}
        {{ column }} in (
            select user_id from {{ table_name(graph.nodes[model_id('int_session_parts')]) }}
            where {{ among('activity_date', changes) }}
        )
    {%- endif -%}
{%- endmacro %}


{#- What changed for the test that is compiled since its parents passed all tests: as of `changes_between`;
    nothing at all; or none, where it has to look at all rows. -#}
{% macro tested_changes() %}
    {% set run = graph.get('run') if execute and flags.WHICH == 'build' else none %}
    {% do renew_lock() %}
    {% if run and has_no_rows(model) %}{{ return({}) }}{% endif %}
    {% if not run or run.publication.get('tests_checksum') != tests_checksum() %}{{ return(none) }}{% endif %}
    {% set build, differing, changed = run.publication.newest, [], [] %}
    {% for id in table_parents(model) if id in run.versions %}
        {% set old, new, tags = origin_of(id, build), origin_of(id), run.versions[id].tags %}
        {% do changed.append(id) if tags.get('main') != tags.get(build) %}
        {% do differing.append(id) if id in graph.nodes and (not old or not new or old[0] != new[0]) or id in graph.sources and id in changed %}
    {% endfor %}
    {% if differing %}{{ return(none) }}{% endif %}
    {{ return(changes_between(origin_from_parents(model, build), origin_from_parents(model)) if changed else {}) }}
{% endmacro %}


{#- Whether a grain test has no row to look at, as none was ever written: to the tables that it reads, or to
    the one that `rows_come_from` names. Scores are in a warehouse only after the ML step. -#}
{% macro has_no_rows(test) %}
    {% set metadata, are_written = test.get('test_metadata') or {}, [] %}
    {% set table = metadata.get('kwargs', {}).get('rows_come_from') %}
    {% for id in table_parents(test) if not table or id.split('.')[-1] == table %}
        {% do are_written.append(id not in graph.run.versions or 'main' in graph.run.versions[id].tags) %}
    {% endfor %}
    {{ return(metadata.get('name') == 'grain' and are_written | length > 0 and true not in are_written) }}
{% endmacro %}


{#- A test whose tables are still those that passed it has nothing to look at. Not sending it saves Spark the
    planning of its query. -#}
{% macro spark__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) %}
    {{ return("select 0 as failures, false as should_warn, false as should_error" if tested_changes() == {}
        else dbt.default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit)) }}
{% endmacro %}


{#- Condition of a test on files: those that were loaded, or loaded again, after the build that readers see. -#}
{% macro is_loaded_since_published(source_file, loaded_at) -%}
    {%- if tested_changes() is none -%}{{ return('true') }}{%- endif -%}
    ({{ source_file }}, {{ loaded_at }}) not in (
        select source_file, loaded_at from {{ table_name(graph.nodes[model_id('ingested_files')]) }}
        version as of '{{ graph.run.publication.newest }}' where loaded_at is not null
    )
{%- endmacro %}
