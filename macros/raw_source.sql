{#- Where the landing folder is: an absolute path or a URI as it is, else beside profiles.yml. -#}
{% macro raw_location() -%}
    {%- set path = (var('raw_path') | string).rstrip('/') -%}
    {%- if path.startswith('/') or '://' in path or path.startswith('file:') -%}
        {{ return(path) }}
    {%- endif -%}
    {{ return(flags.PROFILES_DIR ~ '/' ~ path) }}
{%- endmacro %}


{#-
    Two external tables over the landing folder: its lines, read by the JSON file reader with a
    fixed schema, and its files, listed without reading them. First and last names are not in the
    schema, so that they are never read. They live in the session, so each run makes them.
-#}
{% macro create_raw_tables() %}
    {% set folder_options %}
        recursiveFileLookup 'true',
        pathGlobFilter '{{ var("raw_file_glob") }}'
    {% endset %}
    {% do run_query("drop table if exists " ~ source('raw', 'events')) %}
    {% do run_query("drop table if exists " ~ source('raw', 'files')) %}
    {% call statement('create_raw_events') %}
        create table {{ source('raw', 'events') }} (
            ts bigint, userId string, sessionId bigint, page string, auth string, method string,
            status bigint, level string, itemInSession bigint, location string, userAgent string,
            registration double, gender string, artist string, song string, length double,
            _corrupt_record string
        )
        using json
        options (
            mode 'PERMISSIVE',
            columnNameOfCorruptRecord '_corrupt_record',
            {{ folder_options }}
        )
        location '{{ raw_location() }}'
    {% endcall %}
    {% call statement('create_raw_files') %}
        create table {{ source('raw', 'files') }} (
            path string, modificationTime timestamp, length bigint, content binary
        )
        using binaryFile
        options ({{ folder_options }})
        location '{{ raw_location() }}'
    {% endcall %}
{% endmacro %}


{% macro check_landing_folder() %}
    {% set files = run_query("select count(*) from " ~ source('raw', 'files')).rows[0][0] %}
    {% if files == 0 %}
        {{ exceptions.raise_compiler_error(
            "No raw logs in " ~ raw_location() ~ " (looked for " ~ var('raw_file_glob')
            ~ " in it and below). Put the log files there, or name their folder: "
            ~ "dbt build --vars '{raw_path: /path/to/logs}'"
        ) }}
    {% endif %}
{% endmacro %}


{#- Name of a file within the landing folder, so that a folder that moves is not loaded twice. -#}
{% macro file_name_in_folder(file_path) -%}
    substr(
        url_decode(replace({{ file_path }}, '+', '%2B')),
        instr(url_decode(replace({{ file_path }}, '+', '%2B')), {{ sql_string(raw_location() ~ '/') }})
        + {{ (raw_location() ~ '/') | length }}
    )
{%- endmacro %}


{% macro sql_string(text) -%}
    '{{ text | replace("\\", "\\\\") | replace("'", "\\'") }}'
{%- endmacro %}


{#- Condition of an incremental load: the files of the landing folder that were never loaded. A
    list, not a subquery, so that files that were loaded are not opened again. -#}
{% macro is_in_new_file(file_path) -%}
    {%- if not is_incremental() -%}
        true
    {%- else -%}
        {%- set new_files = run_query(
            "select _metadata.file_path from " ~ source('raw', 'files')
            ~ " where " ~ file_name_in_folder('_metadata.file_path')
            ~ " not in (select source_file from " ~ this ~ ")"
        ) -%}
        {%- if new_files | length == 0 -%}
            false
        {%- else -%}
            {{ file_path }} in (
                {%- for row in new_files.rows %}
                {{ sql_string(row[0]) }}{{ "," if not loop.last }}
                {%- endfor %}
            )
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#- Blanks out first and last names, also where the line is cut or quoted oddly. -#}
{% macro mask_names(line) -%}
    regexp_replace(
        {{ line }},
        '(?i)(["\']?(?:first|last)_?name["\']?\\s*[:=]\\s*)("(?:[^"\\\\]|\\\\.)*"?|\'(?:[^\'\\\\]|\\\\.)*\'?|[\\[{][^\\]}]*[\\]}]?|[^,}\\]]*)',
        '$1"***"'
    )
{%- endmacro %}
