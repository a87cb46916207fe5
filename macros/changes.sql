{#-
    What a build has to do. Lines are appended to `base_events`; every table made of them is brought
    up to date by replacing the dates whose lines changed since the last complete build: a
    `dbt build` of everything in which all tests passed. Properties of `stg_line_counts` name it, and
    its tag is on the version of every table that it left, so that the work of a build that failed or
    was killed is done again by the next one.
-#}

{#- on-run-start: what is as the last complete build left it. One look at the tags of all tables. -#}
{% macro remember_what_is_unchanged() %}
    {% set versions = versions_of(table_nodes() + ml_sources()) %}
    {% if finish_publishing(versions) %}{% set versions = versions_of(table_nodes() + ml_sources()) %}{% endif %}
    {% set mark = mark_of_last_build() %}
    {% set complete = mark.get('churn.complete', '') %}
    {% set is_marked = complete in versions[model_id('stg_line_counts')] %}
    {% set unchanged = [] %}
    {% for id, tags in versions.items() if tags.get(complete) == tags.get('main') %}
        {% do unchanged.append(id) %}
    {% endfor %}
    {% set is_same_project = is_marked and not flags.FULL_REFRESH
        and mark['churn.project'] == project_checksum() %}
    {% if is_marked and not is_same_project %}
        {#- if this run fails, going back to the text of before does not bring back the rows of before -#}
        {% do set_mark({'churn.project': 'changing'}) %}
    {% endif %}
    {% do graph.update({'last': {
        'complete': complete,
        'versions': versions,
        'unchanged': unchanged,
        'is_same_project': is_same_project,
        'is_unchanged': is_same_project
            and table_nodes() | rejectattr('unique_id', 'in', unchanged) | list | length == 0
            and not has_news(),
        'nodes': {},
    }}) %}
    {% do run_query(
        "create or replace global temporary view " ~ run_view() ~ " as select " ~ is_same_project ~ " as is_same_project"
    ) %}
    {% if is_same_project %}
        {#- what a test that is not run reports -#}
        {% do graph.last.update({'passed': run_query(
            "select 0 as failures, false as should_warn, false as should_error"
        )}) %}
    {% endif %}
    {% if graph.last.is_unchanged %}
        {% do graph.last.update({'changes': {
            'dates': [], 'has_lost_lines': false, 'first_snapshot': '9999-12-31'
        }}) %}
    {% endif %}
{% endmacro %}


{#- What unit tests, and other sessions of a server, can see of this command. -#}
{% macro run_view() %}{{ return('run_' ~ invocation_id | replace('-', '_')) }}{% endmacro %}


{#- Whether the last complete build left this node as it would be now. Found out once per run. -#}
{% macro is_unchanged(node) %}
    {% set last = graph.get('last') %}
    {% if not last or flags.WHICH != 'build' or not last.is_same_project %}{{ return(false) }}{% endif %}
    {% if node.unique_id not in last.nodes %}
        {% do last.nodes.update({node.unique_id: is_as_left(node, last)}) %}
    {% endif %}
    {{ return(last.nodes[node.unique_id]) }}
{% endmacro %}


{% macro is_as_left(node, last) %}
    {% if node.resource_type == 'seed' %}{{ return(true) }}{% endif %}
    {% if node.resource_type == 'source' %}{{ return(node.unique_id in last.unchanged) }}{% endif %}
    {% if node.resource_type == 'model' and not last.is_unchanged %}{{ return(false) }}{% endif %}
    {% for id in node.depends_on.nodes %}
        {% set parent = graph.nodes.get(id) or graph.sources[id] %}
        {% if parent.source_name not in ['raw', 'audit'] and not is_unchanged(parent) %}{{ return(false) }}{% endif %}
    {% endfor %}
    {{ return(true) }}
{% endmacro %}


{#- on-run-end, when all passed and all tables have the tag of the build. -#}
{% macro mark_complete(build) %}
    {% set project = project_checksum() %}
    {% do set_mark({
        'churn.complete': build,
        'churn.project': project,
        'churn.project_of.' ~ build: project,
    }) %}
{% endmacro %}


{#- The mark: `churn.complete`, the last complete build, and `churn.project`, the checksum of the project
    that the tables were made by, or `changing`. `churn.project_of.<build>` is the checksum of each complete
    build that is kept. -#}
{% macro mark_of_last_build() %}
    {% set mark = {} %}
    {% if relation_exists(graph.nodes[model_id('stg_line_counts')]) %}
        {% for row in run_query("show tblproperties " ~ counts_table()).rows %}
            {% do mark.update({row[0]: row[1]}) %}
        {% endfor %}
    {% endif %}
    {{ return(mark) }}
{% endmacro %}


{% macro set_mark(properties) %}
    {% set settings = [] %}
    {% for name, value in properties.items() %}{% do settings.append("'" ~ name ~ "' = '" ~ value ~ "'") %}{% endfor %}
    {% do run_query("alter table " ~ counts_table() ~ " set tblproperties (" ~ settings | join(', ') ~ ")") %}
{% endmacro %}


{% macro counts_table() %}{{ return(table_name(graph.nodes[model_id('stg_line_counts')])) }}{% endmacro %}


{#- Condition on when a file was loaded: by the last complete build or later; always where there is none. -#}
{% macro is_loaded_lately(loaded_at) -%}
    {%- if flags.WHICH != 'build' or changes() is none -%}{{ return('true') }}{%- endif -%}
    {%- set start = modules.datetime.datetime.strptime(graph.last.complete.split('_')[1], '%Y%m%dT%H%M%SZ') -%}
    {{ loaded_at }} >= timestamp '{{ start }}'
{%- endmacro %}


{#- A table as the last complete build left it. -#}
{% macro at_last_build(table) %}{{ return(table ~ " version as of '" ~ graph.last.complete ~ "'") }}{% endmacro %}


{% macro ml_sources() %}
    {{ return(graph.sources.values() | selectattr('source_name', 'equalto', 'ml') | list) }}
{% endmacro %}


{% macro model_id(name) %}{{ return('model.' ~ project_name ~ '.' ~ name) }}{% endmacro %}


{#- Changes when the SQL, the contract, the settings or a macro of the project do. -#}
{% macro project_checksum() %}
    {% set parts = [dbt_version] %}
    {% for node in graph.nodes.values() | sort(attribute='unique_id') if node.resource_type not in ['unit_test', 'analysis'] %}
        {% do parts.append(node.unique_id ~ node.checksum.checksum ~ node.get("contract", {}).get("checksum")
            ~ tojson(node.config, sort_keys=true) ~ tojson(node.get('test_metadata', {}), sort_keys=true)) %}
    {% endfor %}
    {% for name, generator in context[project_name].items() | sort %}
        {% do parts.append(generator.macro.macro_sql) %}
    {% endfor %}
    {{ return(local_md5(parts | join)) }}
{% endmacro %}


{#-
    Since the last complete build: `dates` whose lines changed, oldest first; `has_lost_lines`,
    whether lines were taken back (by reload_files, or as the log's period moved); and
    `first_snapshot`, the earliest churn snapshot whose features or labels may have changed. None
    where all is to be built. Asked once per run, after `log_calendar` was built.
-#}
{% macro changes() %}
    {% set last = graph.get('last') if execute else none %}
    {% if not last or not last.is_same_project %}{{ return(none) }}{% endif %}
    {% if 'changes' not in last %}
        {% set rows = run_query(
            changes_query(counts_table(), table_name(graph.nodes[model_id('log_calendar')]))
        ).rows %}
        {% set lost = [] %}
        {% for row in rows if row[1] %}{% do lost.append(row[0]) %}{% endfor %}
        {% do last.update({'changes': {
            'dates': rows | map(attribute=0) | map('string') | list,
            'has_lost_lines': lost | length > 0,
        }}) %}
    {% endif %}
    {{ return(last.changes) }}
{% endmacro %}


{#- A line that is counted now and was not then, or the other way round. -#}
{% macro changes_query(line_counts, event_dates) %}
select
    event_date,
    min(surplus) < 0 as has_lost_lines
from (
    select
        event_date,
        sum(surplus) as surplus
    from (
        select event_date, source_file, counted_at, true as is_in_log_period, 1 as surplus
        from {{ line_counts }}
        union all
        select event_date, source_file, counted_at, true, -1
        from {{ at_last_build(line_counts) }}
        union all
        select event_date, null, null, is_in_log_period, 1
        from {{ event_dates }}
        union all
        select event_date, null, null, is_in_log_period, -1
        from {{ at_last_build(event_dates) }}
    )
    where event_date is not null
    group by event_date, source_file, counted_at, is_in_log_period
    having sum(surplus) <> 0
)
group by event_date
order by event_date
{% endmacro %}


{#- Condition of a model on a date: whether a build has to read and write it. -#}
{% macro in_changed_dates(column) -%}
    {%- do ref('stg_line_counts') -%}
    {%- do ref('log_calendar') -%}
    {{ is_changed_date(column) }}
{%- endmacro %}


{#- All dates where a table is made anew, as those without partitions are when lines were lost. -#}
{% macro is_changed_date(column, of_whole_weeks=false) -%}
    {%- set found = changes() -%}
    {%- if found is none or should_full_refresh() -%}
        true
    {%- elif not found.dates -%}
        false
    {%- else -%}
        {{ column }} in (
            {%- for date in (whole_weeks(found.dates) if of_whole_weeks else found.dates) %}date '{{ date }}'{{ ", " if not loop.last }}{% endfor -%}
        )
    {%- endif -%}
{%- endmacro %}


{#- All dates of the ISO weeks of these dates. -#}
{% macro whole_weeks(dates) %}
    {% set day, days = modules.datetime.timedelta(days=1), [] %}
    {% for text in dates %}
        {% set date = modules.datetime.datetime.strptime(text, '%Y-%m-%d').date() %}
        {% for n in range(7) %}{% do days.append(date + (n - date.weekday()) * day) %}{% endfor %}
    {% endfor %}
    {{ return(days | unique | list) }}
{% endmacro %}


{#- The same for a column of users: those with an event on a changed date. A set of all that a user ever
    did grows with the log, and this leaves out whoever was away. -#}
{% macro is_of_changed_user(column) -%}
    {%- set found = changes() -%}
    {%- if found is none or found.has_lost_lines -%}
        true
    {%- else -%}
        {{ column }} in (
            select user_id from {{ table_name(graph.nodes[model_id('stg_session_days')]) }}
            where {{ is_changed_date('activity_date') }}
        )
    {%- endif -%}
{%- endmacro %}


{#- Condition of a model that counts by week: as above, for all dates of each week that has a changed one. -#}
{% macro in_changed_weeks(column) -%}
    {%- do ref('stg_line_counts') -%}
    {%- do ref('log_calendar') -%}
    {{ is_changed_date(column, of_whole_weeks=true) }}
{%- endmacro %}


{#- The same for a column of dates, of snapshot dates or of Mondays. -#}
{% macro is_changed(column) -%}
    {%- if column == 'snapshot_date' -%}
        {{ is_changed_snapshot(column) }}
    {%- elif column == 'week_start_date' -%}
        {{ is_changed_date(column, of_whole_weeks=true) }}
    {%- else -%}
        {{ is_changed_date(column) }}
    {%- endif -%}
{%- endmacro %}


{#- The same for tests: `dbt test` looks at all dates. What tells the dates is no parent of a test: a
    build of the first tables alone would run it on tables that are not there. -#}
{% macro in_tested_dates(column) -%}
    {{ is_changed(column) if flags.WHICH == 'build' else 'true' }}
{%- endmacro %}


{% macro of_tested_user(column) -%}
    {{ is_of_changed_user(column) if flags.WHICH == 'build' else 'true' }}
{%- endmacro %}


{#-
    The earliest snapshot date to build again: an event is in the features of the snapshots after it
    and in the labels of the ten up to its date; a date that became complete lets labels mature; a
    date that the log has more is a snapshot more.
-#}
{% macro first_changed_snapshot() %}
    {% set found = changes() %}
    {% if found is none %}{{ return(none) }}{% endif %}
    {% if 'first_snapshot' not in found %}
        {% set calendar = table_name(graph.nodes[model_id('log_calendar')]) %}
        {% set ends = "select max(case when is_complete then event_date end) as last_complete_date,"
            ~ " max(event_date) as last_event_date from %s where is_in_log_period" %}
        {% set row = run_query(
            "select least(min(date_sub(last_complete_date, 8)), date_add(min(last_event_date), 1)"
            ~ (", date_sub(date '" ~ found.dates[0] ~ "', 9)" if found.dates else "")
            ~ ") from (" ~ ends | format(calendar) ~ " union all " ~ ends | format(at_last_build(calendar)) ~ ")"
        ).rows[0] %}
        {% do found.update({'first_snapshot': row[0] | string}) %}
    {% endif %}
    {{ return(found.first_snapshot) }}
{% endmacro %}


{#- Condition of a model on a snapshot date, `days_before` earlier ones included. -#}
{% macro in_changed_snapshots(column, days_before=0) -%}
    {%- do ref('log_calendar') -%}
    {{ is_changed_snapshot(column, days_before) }}
{%- endmacro %}


{% macro is_changed_snapshot(column, days_before=0) -%}
    {%- set first = first_changed_snapshot() -%}
    {{ "true" if first is none else column ~ " >= date '" ~ first ~ "'" ~ (" - interval " ~ days_before ~ " days" if days_before) }}
{%- endmacro %}
