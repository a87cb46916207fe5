{#- Where the landing folder is: an absolute path or a URI as it is, else beside profiles.yml. -#}
{% macro raw_location() -%}
    {%- set path = modules.re.sub('^file:/+', 'file:/', var('raw_path') | string) -%}
    {%- if path.startswith('/') or '://' in path or path.startswith('file:') -%}
        {{ return(plain_path(path)) }}
    {%- endif -%}
    {{ return(plain_path(flags.PROFILES_DIR ~ '/' ~ path)) }}
{%- endmacro %}


{#- A path without `//`, `/./` and `/../`, as Spark writes those of files: what follows the folder's in one is
    the name of the file within the folder. -#}
{% macro plain_path(path) -%}
    {%- set found = namespace(path=modules.re.sub('(?<![:/])/(\\.?/)+', '/', path ~ '/')) -%}
    {%- for _ in range(found.path.count('/..')) -%}
        {%- set found.path = modules.re.sub('^/\\.\\./|/(?!\\.\\./)[^/]+/\\.\\./', '/', found.path, count=1) -%}
    {%- endfor -%}
    {{ return(found.path.rstrip('/')) }}
{%- endmacro %}


{#- Names of the tables behind `source('raw', ...)`, for macros that models call: a unit test puts
    its own rows in the place of a source. -#}
{% macro raw_table(name) %}
    {% set found = graph.sources['source.' ~ project_name ~ '.raw.' ~ name] %}
    {{ return(found.schema ~ '.' ~ found.identifier) }}
{% endmacro %}


{#- The fields of a line that are read, as the log names them. -#}
{% macro raw_event_fields() -%}
    ts bigint, userId string, sessionId bigint, page string, auth string, method string,
    status bigint, level string, itemInSession bigint, location string, userAgent string,
    registration double, gender string, artist string, song string, length double,
    _corrupt_record string
{%- endmacro %}


{#- The fields of a line that are texts, as another type. -#}
{% macro raw_text_fields(type) -%}
    {{ raw_event_fields() | replace(' string', ' ' ~ type) | replace('_corrupt_record ' ~ type, '_corrupt_record string') }}
{%- endmacro %}


{#- A text of a rejected line; of a nested value, which may hold a name, only that it was one. -#}
{% macro unless_nested(text) -%}
    if(has_nested_value and {{ text }} rlike '^[{\\[]', '***', {{ text }})
{%- endmacro %}


{#- A user id as text: one user however a tool wrote the number (91, "91", 91.0, 9.1e1, "91 "), nobody
    for a blank and for texts that tools write for nothing. A number with a zero in front is another id. -#}
{% macro user_id(text) -%}
    case
        when trim({{ text }}) in (
            '', 'nan', 'NaN', 'NAN', 'null', 'Null', 'NULL', 'none', 'None', 'NONE',
            'nil', 'undefined', '<NA>', '\\N'
        ) then null
        when {{ is_float(text) }}
            then coalesce(cast(cast({{ float_id(text) }} as decimal(38, 0)) as string), trim({{ text }}))
        else trim({{ text }})
    end
{%- endmacro %}


{#- Whether a text is no id of a user: true and false, and a number with a fraction. -#}
{% macro is_no_user_id(text) -%}
    (
        {{ text }} in ('true', 'false', 'True', 'False')
        or {{ is_float(text) }} and {{ float_id(text) }} <> floor({{ float_id(text) }})
    )
{%- endmacro %}


{#- Spark's reader writes a number with a fraction or an exponent so; the point is looked for first, as most
    ids have none. -#}
{% macro is_float(text) -%}
    (contains({{ text }}, '.') and {{ text }} rlike '^ *[0-9]+[.][0-9]+([eE][+]?[0-9]+)? *$')
{%- endmacro %}


{% macro float_id(text) -%}
    try_cast({{ text }} as decimal(38, 10))
{%- endmacro %}


{#- JSON as RFC 8259 has it: Spark's reader by itself takes single quotes and NaN as well. -#}
{% macro json_options() -%}
    {{ return({
        'mode': 'PERMISSIVE',
        'columnNameOfCorruptRecord': '_corrupt_record',
        'allowSingleQuotes': 'false',
        'allowNonNumericNumbers': 'false',
    }) }}
{%- endmacro %}


{#- The fields of a line, `_corrupt_record` among them where it is not null. -#}
{% macro parsed(line, fields) -%}
    from_json(
        {{ line }},
        '{{ fields }}',
        map({% for option in json_options().items() %}'{{ option | join("', '") }}'{{ ", " if not loop.last }}{% endfor %})
    )
{%- endmacro %}


{#- A line of JSON with a 0 for each text. Escapes go first, so that no pattern looks back. -#}
{% macro without_texts(line) -%}
    regexp_replace(regexp_replace({{ line }}, '[\\\\].', ''), '"[^"]*"', '0')
{%- endmacro %}


{#- Whether a line is one object of single values, if it is JSON: a brace at the front, the only closing
    brace at the end, no list; what looks otherwise may have a brace or a bracket in a text. Every byte
    is looked at, so bytes it is: by characters the same takes half as long again. -#}
{% macro is_flat_object(line) -%}
    case
        when
            startswith({{ line }}, '{')
            and endswith({{ line }}, '}')
            and not contains(cast(left(cast({{ line }} as binary), octet_length({{ line }}) - 1) as string), '}')
            and not contains({{ line }}, '[')
            then true
        else {{ without_texts(line) }} rlike '^[{][^{}\\[\\]]*[}][ \\t]*\\z'
    end
{%- endmacro %}


{#- Comet looks at raw lines where this is on, else Java. It puts U+FFFD for bytes that are no UTF-8: good
    for a look at lines, not for lines that are to be loaded. -#}
{% macro convert_raw_texts(is_on) -%}
    {%- if target.name == 'comet' -%} set spark.comet.convert.text.enabled = {{ is_on | lower }} {%- endif -%}
{%- endmacro %}


{#- Whether a line is one object and nothing else: it makes lists of two and of three elements, where
    one that closes the list itself makes two lists of one length. -#}
{% macro is_one_object(line) -%}
    (
        startswith(ltrim(' \t', {{ line }}), '{')
        and coalesce(json_array_length(concat('[', {{ line }}, ',0]')), 0) = 2
        and coalesce(json_array_length(concat('[', {{ line }}, ',0,0]')), 0) = 3
    )
{%- endmacro %}


{#- Whether a line is JSON of any kind, found by reading it as a field that no one asks for; it must
    not hold the next key, either. U+FFFD stands for bytes that were no UTF-8: whoever hands texts on
    may have put it there, Comet does. -#}
{% macro is_json(line) -%}
    (
        is_valid_utf8({{ line }})
        and not contains({{ line }}, '\uFFFD')
        and coalesce(json_array_length(concat('[', {{ line }}, ',0]')), 0) = 2
        and {{ parsed("concat('{\"line\":', " ~ line ~ ", '}')", 'other string, _corrupt_record string') }}._corrupt_record
        is null
    )
{%- endmacro %}


{#-
    External tables over the landing folder: its events, read by the JSON file reader with a fixed
    schema; its files, listed without reading them; its lines, as text, to count them. First and last names are not in the
    schema, so that they are never read. They live in the session, so each run makes them.
-#}
{% macro create_raw_tables() %}
    {#- the location is a path, and no pattern of paths, as `logs [2018]` would be: Spark has this option for
        its own use only -#}
    {% set folder_options %}
        recursiveFileLookup 'true',
        pathGlobFilter {{ sql_string(var("raw_file_glob")) }},
        `__globPaths__` 'false'
    {% endset %}
    {% set events %}
        create table {{ raw_table('events') }} ({{ raw_event_fields() }})
        using json
        options (
            {%- for name, value in json_options().items() %}
            {{ name }} '{{ value }}',
            {%- endfor %}
            {{ folder_options }}
        )
        location {{ sql_string(raw_location()) }}
    {% endset %}
    {% set files %}
        create table {{ raw_table('files') }} (
            path string, modificationTime timestamp, length bigint, content binary
        )
        using binaryFile
        options ({{ folder_options }})
        location {{ sql_string(raw_location()) }}
    {% endset %}
    {% set lines %}
        create table {{ raw_table('lines') }} (value string)
        using text
        options ({{ folder_options }})
        location {{ sql_string(raw_location()) }}
    {% endset %}
    {% do run_in_turn([
        "drop table if exists " ~ raw_table('events'),
        "drop table if exists " ~ raw_table('files'),
        "drop table if exists " ~ raw_table('lines'),
        events,
        files,
        lines,
    ]) %}
{% endmacro %}


{#- Lists the landing folder once, for all questions of a run. A query with several conditions on the
    table of files itself would read what is in them. `listed_by` tells it from the listing of another
    command: of equal queries, Spark takes what is cached already. -#}
{% macro list_landing_folder() %}
    {% do run_query(
        "create or replace global temporary view " ~ landed_files().split('.')[1] ~ " as select _metadata.file_path as file_path, "
        ~ file_name_in_folder('_metadata.file_path') ~ " as source_file, "
        ~ "_metadata.file_size as file_bytes, _metadata.file_modification_time as file_modified_at, "
        ~ "'" ~ invocation_id ~ "' as listed_by "
        ~ "from " ~ raw_table('files')
    ) %}
    {% do run_query("cache table " ~ landed_files()) %}
{% endmacro %}


{#- One per command: all sessions of a server see it. -#}
{% macro landed_files() %}{{ return('global_temp.landed_files_' ~ invocation_id | replace('-', '_')) }}{% endmacro %}


{% macro check_landing_folder() %}
    {% if run_query("select count(*) from " ~ landed_files()).rows[0][0] == 0 %}
        {% do release_lock() %}
        {{ exceptions.raise_compiler_error(
            "No raw logs in " ~ raw_location() ~ " (looked for " ~ var('raw_file_glob')
            ~ " in it and below). Put the log files there, or name their folder: "
            ~ "dbt build --vars '{raw_path: /path/to/logs}'"
        ) }}
    {% endif %}
{% endmacro %}


{#- Whether the raw tables exist: `dbt compile` and the linter run no hooks. -#}
{% macro is_run() %}
    {{ return(execute and flags.WHICH in ['build', 'run', 'test']) }}
{% endmacro %}


{#- Name of a file within the landing folder, so that a folder that moves is not loaded twice. Its
    length is looked up once: a function of the path would run on every line. -#}
{% macro file_name_in_folder(file_path) -%}
    substr({{ file_path }}, {{ folder_prefix_length() + 1 }})
{%- endmacro %}


{#- `path` is plain text, `_metadata.file_path` has blanks and the like escaped. Asked once per run. -#}
{% macro folder_prefix_length() -%}
    {%- if not is_run() -%}{{ return(0) }}{%- endif -%}
    {%- if 'folder_prefix_length' not in graph -%}
        {%- set folder = raw_location() ~ '/' -%}
        {%- set rows = run_query(
            "select length(file_path) - length(substring_index(file_path, '/', - 1 - folders)) from ("
            ~ " select file_path, length(name) - length(replace(name, '/', '')) as folders from ("
            ~ " select _metadata.file_path as file_path,"
            ~ " substr(path, instr(path, " ~ sql_string(folder) ~ ") + " ~ folder | length ~ ") as name"
            ~ " from " ~ raw_table('files') ~ " limit 1))"
        ).rows -%}
        {%- do graph.update({'folder_prefix_length': rows[0][0] if rows | length > 0 else 0}) -%}
    {%- endif -%}
    {{ return(graph.folder_prefix_length) }}
{%- endmacro %}


{#- Of `${name}`, Spark would take the name for that of a setting. -#}
{% macro sql_string(text) -%}
    '{{ text | replace("\\", "\\\\") | replace("'", "\\'") | replace("${", "\\u0024{") }}'
{%- endmacro %}


{#- Condition: the value of a column is one of these texts. -#}
{% macro is_one_of(column, texts) -%}
    {%- if not texts -%}
        false
    {%- else -%}
        {{ column }} in (
            {%- for text in texts %}
            {{ sql_string(text) }}{{ "," if not loop.last }}
            {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}


{#- Condition of `base_files`: the files that are new in the landing folder or look changed. -#}
{% macro is_in_changed_file(file_path) -%}
    {%- if is_incremental() -%}
        {{ is_in_files(file_path, "not exists (select * from " ~ this ~ " as seen where "
            ~ same_file('seen') ~ ")") }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#- Condition of an incremental load: the files of the landing folder that were never loaded; of them
    those with, or without, irregular lines where that is said. One that changed since `base_files` saw
    it waits for the next build. -#}
{% macro is_in_new_file(file_path, is_irregular=none) -%}
    {%- set files = ref('base_files') -%}
    {%- if not is_run() -%}{{ return('true') }}{%- endif -%}
    {%- if is_unchanged(model) -%}{{ return('false') }}{%- endif -%}
    {%- if 'new_files' not in graph -%}
        {%- do graph.update({'new_files': find_new_files(files)}) -%}
    {%- endif -%}
    {{ is_one_of(
        file_path,
        graph.new_files[true] + graph.new_files[false] if is_irregular is none else graph.new_files[is_irregular]
    ) }}
{%- endmacro %}


{#- Paths of files that `base_events` has not loaded, by whether they have irregular lines. Files that
    are counted are loaded; of the others, which a killed build may have left, the events tell, read
    where the bounds of file names allow for them. Asked once per run. -#}
{% macro find_new_files(files) %}
    {% set counts = graph.nodes[model_id('stg_line_counts')] %}
    {% set uncounted = run_query(
        "select landed.source_file, landed.file_path, seen.irregular_lines > 0 from " ~ landed_files()
        ~ " as landed inner join " ~ files ~ " as seen on " ~ same_file('seen')
        ~ (" where landed.source_file not in (select source_file from " ~ table_name(counts) ~ ")"
            if is_incremental() and relation_exists(counts) else "")
    ).rows %}
    {% set loaded = [] %}
    {% if is_incremental() and uncounted %}
        {% set loaded = run_query(
            "select distinct source_file from " ~ this ~ " where " ~ is_one_of('source_file', uncounted | map(attribute=0) | list)
        ).rows | map(attribute=0) | list %}
    {% endif %}
    {% set new_files = {true: [], false: []} %}
    {% for row in uncounted if row[0] not in loaded %}{% do new_files[row[2]].append(row[1]) %}{% endfor %}
    {{ return(new_files) }}
{% endmacro %}


{#- Whether a row of `base_files` is the file of the listing in `is_in_files`, unchanged. -#}
{% macro same_file(seen) -%}
    {{ seen }}.source_file = landed.source_file
    and {{ seen }}.file_bytes = landed.file_bytes
    and {{ seen }}.file_modified_at = landed.file_modified_at
{%- endmacro %}


{#- A list of paths, not a subquery, so that no other file is opened. The condition is one on the
    columns source_file, file_bytes and file_modified_at of `landed`. -#}
{% macro is_in_files(file_path, condition) -%}
    {%- if not is_run() -%}{{ return('true') }}{%- endif -%}
    {%- if is_unchanged(model) -%}{{ return('false') }}{%- endif -%}
    {%- set files = run_query("select file_path from " ~ landed_files() ~ " as landed where " ~ condition) -%}
    {{ is_one_of(file_path, files.rows | map(attribute=0) | list) }}
{%- endmacro %}


{#- Whether the listing has what the ledger does not know yet: a file, a change, a loss. -#}
{% macro has_news() -%}
    {%- set files, ledger = table_name(graph.nodes[model_id('base_files')]), table_name(graph.nodes[model_id('ingested_files')]) -%}
    {%- set known = "(select source_file, file_bytes, file_modified_at from " ~ files
        ~ " union all select source_file, file_bytes, file_modified_at from " ~ ledger ~ ")" -%}
    {{ return(run_query(
        "select 1 from " ~ landed_files() ~ " as landed"
        ~ " where not exists (select * from " ~ known ~ " as known where " ~ same_file('known') ~ ")"
        ~ " union all select 1 from " ~ ledger ~ " where file_status <> 'vanished'"
        ~ " and source_file not in (select source_file from " ~ landed_files() ~ ") limit 1"
    ) | length > 0) }}
{%- endmacro %}


{#- Condition on lines of `base_events`: those of files that are not counted yet. -#}
{% macro is_in_uncounted_file(source_file) -%}
    {%- set seen_files = ref('base_files') -%}
    {%- if not is_run() or not is_incremental() -%}{{ return('true') }}{%- endif -%}
    {%- if is_unchanged(model) -%}{{ return('false') }}{%- endif -%}
    {%- set files = run_query(
        "select source_file from " ~ seen_files ~ " where lines > 0"
        ~ " and source_file not in (select source_file from " ~ this ~ ")"
    ) -%}
    {{ is_one_of(source_file, files.rows | map(attribute=0) | list) }}
{%- endmacro %}


{#- Blanks out first and last names, also where the line is cut, quoted oddly, or json within json; where
    the key has letters as escapes; and what a line that lost its front begins with. Zeros go: they
    are every second byte of UTF-16. No pattern can backtrack in a text, however long. -#}
{% macro mask_names(line) -%}
    regexp_replace(
        regexp_replace(replace({{ line }}, chr(0), ''), '^(?:[^\\[{"]*+"){1,3}(?=\\s*[,}])', '***'),
        '(?is)((?:(?:first|last)[_ -]?name|\\\\u00[4-7][0-9a-f][^":]*+")\\W{0,9}\\s*[:=>]\\s*)(\\\\+".*?(?:\\\\+"|$)|"(?:[^"\\\\]|\\\\.)*+"?|\'(?:[^\'\\\\]|\\\\.)*+\'?|[\\[{].*|[^,}\\]]*)',
        '$1"***"'
    )
{%- endmacro %}
