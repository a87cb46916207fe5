{#-
    dbt run-operation reload_files --args '{files: [events-2018-10-01.json]}'
    Takes back what was loaded from these files (names as in `ingested_files`); the next dbt build
    loads what they hold by then, nothing where they are gone. Readers see no difference until that
    build has passed. A kill on the way does no harm: run it again, or build.
-#}
{% macro reload_files(files) %}
    {% set names = [files] if files is string else files %}
    {% if not names %}{{ exceptions.raise_compiler_error("Name a file: --args '{files: [...]}'") }}{% endif %}
    {% set quoted = [] %}
    {% for name in names %}{% do quoted.append(sql_string(name)) %}{% endfor %}
    {% set condition = "source_file in (" ~ quoted | join(', ') ~ ")" %}
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
    {% for table in [ref('base_events'), ref('base_files'), ref('stg_line_counts')] %}
        {% do run_query("delete from " ~ table ~ " where " ~ condition) %}
    {% endfor %}
    {% do log(
        "Took back " ~ counts.values() | sum ~ " lines of " ~ names | length
        ~ " file(s). Load what they hold now: dbt build",
        info=True
    ) %}
{% endmacro %}
