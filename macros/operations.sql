{#- dbt run-operation help_operations: what can be done beside dbt build. More in `_operations.yml`. -#}
{% macro help_operations() %}
    {% for line in [
        "publish_status                                      what readers see, which builds are kept",
        "rollback                                            readers: back to the build before",
        "rollback --args '{build: <name or invocation id>}'  readers: to that build",
        "rollback --args '{build: <name>, built: true}'      readers and all tables",
        "reload_files --args '{files: [<source_file>]}'      forget what these files held; then dbt build",
        "rebuild_dates --args '{first: <date>, last: <date>}'  make these dates again; then dbt build",
        "free_lock --args '{invocation: <id>}'               of a server's client that was killed",
        "maintain --args '{keep_hours: 72}'                  compact, expire snapshots, remove orphans",
    ] %}
        {% do log("dbt run-operation " ~ line, info=True) %}
    {% endfor %}
{% endmacro %}


{#-
    dbt run-operation reload_files --args '{files: [events-2018-10-01.json]}'
    Takes back what was loaded from these files (names as in `ingested_files`); the next dbt build
    loads what they hold by then, nothing where they are gone. Readers see no difference until that
    build has passed. A kill on the way does no harm: run it again, or build.
-#}
{% macro reload_files(files=[]) %}
    {% set names = [files] if files is string else files %}
    {% if not names %}{{ exceptions.raise_compiler_error("Name a file: --args '{files: [...]}'") }}{% endif %}
    {% do open_warehouse() %}
    {% set condition = is_one_of('source_file', names) %}
    {% set counts = {} %}
    {% for row in run_query(
        "select source_file, count(*) from " ~ ref('base_events') ~ " where " ~ condition ~ " group by source_file"
    ).rows %}
        {% do counts.update({row[0]: row[1]}) %}
    {% endfor %}
    {% set unknown = names | reject('in', counts) | list %}
    {% if unknown %}
        {{ exceptions.raise_compiler_error(
            "Nothing was loaded from " ~ unknown | join(', ') ~ ", so nothing was changed. Loaded files: "
            ~ "select source_file from " ~ ref('ingested_files') ~ " where lines > 0"
        ) }}
    {% endif %}
    {% do take_lock() %}
    {% for table in [ref('base_events'), ref('base_files'), ref('stg_line_counts')] %}
        {% do run_query("delete from " ~ table ~ " where " ~ condition) %}
    {% endfor %}
    {% do release_lock() %}
    {% do log(
        "Took back " ~ counts.values() | sum ~ " lines of " ~ names | length
        ~ " file(s). Load what they hold now: dbt build",
        info=True
    ) %}
{% endmacro %}


{#-
    dbt run-operation rebuild_dates --args '{first: "2018-10-01", last: "2018-10-07"}'
    The next dbt build makes everything of these dates again from `base_events`, as it does of dates
    with new lines.
-#}
{% macro rebuild_dates(first=none, last=none) %}
    {% if not first or not last %}
        {{ exceptions.raise_compiler_error("Name the dates: --args '{first: 2018-10-01, last: 2018-10-07}'") }}
    {% endif %}
    {% do open_warehouse() %}
    {% set counts = ref('stg_line_counts') %}
    {% set condition = "event_date between " ~ sql_date(first) ~ " and " ~ sql_date(last) %}
    {% set dates = run_query("select count(distinct event_date) from " ~ counts ~ " where " ~ condition).rows[0][0] %}
    {% if dates == 0 %}
        {{ exceptions.raise_compiler_error("No date from " ~ first ~ " to " ~ last ~ " has a line, so nothing was changed.") }}
    {% endif %}
    {% do take_lock() %}
    {% do run_query("update " ~ counts ~ " set counted_at = current_timestamp() where " ~ condition) %}
    {% do release_lock() %}
    {% do log("Marked " ~ dates ~ " date(s). Build them again: dbt build", info=True) %}
{% endmacro %}
