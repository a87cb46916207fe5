{#-
    dbt run-operation reload_files --args '{files: [events-2018-10-01.json]}'
    Takes back what was loaded from these files (names as in `ingested_files`); the next dbt build
    loads what they hold by then, nothing where they are gone. Readers see no difference until that
    build has passed. A kill on the way does no harm: run it again, or build.
-#}
{% macro reload_files(files) %}
    {% set names = [files] if files is string else files %}
    {% if not names %}{{ exceptions.raise_compiler_error("Name a file: --args '{files: [...]}'") }}{% endif %}
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
{% macro rebuild_dates(first, last) %}
    {% set counts = ref('stg_line_counts') %}
    {% set days = [] %}
    {% for day in [first, last] %}
        {% do days.append("date '" ~ modules.datetime.date.fromisoformat(day | string) ~ "'") %}
    {% endfor %}
    {% set condition = "event_date between " ~ days[0] ~ " and " ~ days[1] %}
    {% set dates = run_query("select count(distinct event_date) from " ~ counts ~ " where " ~ condition).rows[0][0] %}
    {% if dates == 0 %}
        {{ exceptions.raise_compiler_error("No date from " ~ first ~ " to " ~ last ~ " has a line.") }}
    {% endif %}
    {% do take_lock() %}
    {% do run_query("update " ~ counts ~ " set counted_at = current_timestamp() where " ~ condition) %}
    {% do release_lock() %}
    {% do log("Marked " ~ dates ~ " date(s). Build them again: dbt build", info=True) %}
{% endmacro %}
