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


{#-
    External tables over the landing folder: its events, read by the JSON file reader with a fixed schema; its
    files, listed without reading them; its lines, as text, to count them. First and last names are not in the
    schema, so that they are never read. They live in the session, so each run makes them.
-#}
{% macro create_raw_tables() %}
    {% set of_files = 'path string, modificationTime timestamp, length bigint, content binary' %}
    {% set statements = [] %}
    {% for name, columns, format, options in [
        ('events', raw_event_fields(), 'json', json_options()),
        ('files', of_files, 'binaryFile', {}),
        ('lines', 'value string', 'text', {}),
    ] %}
        {% do statements.append("drop table if exists " ~ raw_table(name)) %}
        {% do statements.append(
            "create table " ~ raw_table(name) ~ " (" ~ columns ~ ") using " ~ format
            ~ " options (" ~ folder_options(options) ~ ") location " ~ sql_string(raw_location())
        ) %}
    {% endfor %}
    {% do run_in_turn(statements) %}
{% endmacro %}


{#- The location is a path, and no pattern of paths, as `logs [2018]` would be: Spark has the last of these
    options for its own use only. -#}
{% macro folder_options(options) %}
    {% set texts, all = [], {'recursiveFileLookup': 'true', 'pathGlobFilter': var('raw_file_glob')} %}
    {% do all.update(options) %}
    {% for name, value in all.items() %}{% do texts.append(name ~ " " ~ sql_string(value)) %}{% endfor %}
    {{ return((texts + ["`__globPaths__` 'false'"]) | join(', ')) }}
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


{#- Whether a row of `base_files` or of `base_events` is the file of the listing, unchanged. -#}
{% macro same_file(seen) -%}
    {{ seen }}.source_file = landed.source_file
    and {{ seen }}.file_bytes = landed.file_bytes
    and {{ seen }}.file_modified_at = landed.file_modified_at
{%- endmacro %}


{#- Comet looks at raw lines where this is on, else Java. It puts U+FFFD for bytes that are no UTF-8: good
    for a look at lines, not for lines that are to be loaded. -#}
{% macro convert_raw_texts(is_on) -%}
    {%- if target.name == 'comet' -%} set spark.comet.convert.text.enabled = {{ is_on | lower }} {%- endif -%}
{%- endmacro %}


{#- The plan of a model that is loaded file by file: as of `plan_of`, and which `files`. -#}
{% macro file_plan(node) %}
    {% set old, new = origin_of(node.unique_id), [code_of(node)] + ['-'] * 4 + [raw_location() | urlencode] %}
    {% set is_rebuild = flags.FULL_REFRESH or not old or old[0] != new[0] %}
    {% set files = run_query(files_query(node, is_rebuild)).rows | map('list') | list %}
    {% if not is_rebuild %}{% do say_loaded_again(node, files | selectattr(3) | map(attribute=1) | list) %}{% endif %}
    {{ return({
        'kind': 'rebuild' if is_rebuild else 'update' if files or old[5] != new[5] else 'keep',
        'origin': new, 'files': files,
    }) }}
{% endmacro %}


{#- Path and name of each file to load, whether it has irregular lines, whether it was loaded before: files
    that are new or have changed; all that are there, for a rebuild. A file that changed since `base_files`
    saw it waits for the next build. -#}
{% macro files_query(node, is_rebuild) %}
    {% set seen, is_events = table_name(graph.nodes[model_id('base_files')]), node.unique_id == model_id('base_events') %}
    {% set known = "(select '' as source_file, 0L as file_bytes, timestamp '1970-01-01' as file_modified_at where false)"
        if is_rebuild else loaded_files() if is_events else seen %}
    select
        landed.file_path, landed.source_file, {{ "seen.irregular_lines > 0, known.source_file is not null" if is_events else "false, false" }}
    from {{ landed_files() }} as landed
    {% if is_events %}
    inner join {{ seen }} as seen on {{ same_file('seen') }}
    left join {{ known }} as known on landed.source_file = known.source_file
    where (known.source_file is null and seen.lines > 0) or not ({{ same_file('known') }})
    {% else %}
    left anti join {{ known }} as known on {{ same_file('known') }}
    {% endif %}
{% endmacro %}


{#- One row per file with lines in `base_events`, for a query: as counted, and as it is on the dates that
    changed after the count. -#}
{% macro loaded_files() %}
    {% set events, counts = graph.nodes[model_id('base_events')], graph.nodes[model_id('stg_line_counts')] %}
    {% set counted = origin_of(counts.unique_id) if relation_exists(counts) else none %}
    {% set head = graph.run.versions[events.unique_id].tags.main %}
    {% set changes = changes_between(counted, counted[:1] + [head] + ['-'] * 3) if counted else none %}
    {% set is_changed = 'true' if changes is none else among('event_date', changes) %}
    (
        select source_file, max(file_bytes) as file_bytes, max(file_modified_at) as file_modified_at
        from (
            {% if changes is not none %}
            select source_file, file_bytes, file_modified_at from {{ table_name(counts) }} where not ({{ is_changed }})
            union all
            {% endif %}
            select source_file, source_file_bytes as file_bytes, source_file_modified_at as file_modified_at
            from {{ table_name(events) }} where {{ is_changed }}
        )
        group by source_file
    )
{% endmacro %}


{% macro say_loaded_again(node, files) %}
    {% if files and node.unique_id == model_id('base_events') %}
        {% do log(files | length ~ " file(s) have changed and are loaded again: " ~ some_of(files), info=True) %}
    {% endif %}
{% endmacro %}


{% macro some_of(texts, most=5) %}
    {{ return(texts[:most] | join(', ') ~ (', ...' if texts | length > most else '')) }}
{% endmacro %}


{#- Condition of a model that is loaded file by file; of files with, or without, irregular lines where that is
    said. A list of paths, not a subquery, so that no other file is opened. -#}
{% macro is_file_to_load(file_path, is_irregular=none) -%}
    {%- set plan = plan_of(model) -%}
    {%- if plan is none -%}{{ return('true') }}{%- endif -%}
    {%- set paths = [] -%}
    {%- for file in plan.files if is_irregular is none or file[2] == is_irregular -%}{%- do paths.append(file[0]) -%}{%- endfor -%}
    {{ is_one_of(file_path, paths) }}
{%- endmacro %}


{#- Files that are gone keep their lines as they were loaded: a query of them, for the columns of a model. -#}
{% macro lines_of_vanished_files() %}
    {% set columns, had = [], adapter.get_columns_in_relation(this) | map(attribute='name') | list %}
    {% for name, column in model.columns.items() %}
        {% do columns.append(name if name in had else "cast(null as " ~ column.data_type ~ ") as " ~ name) %}
    {% endfor %}
    {{ return("select " ~ columns | join(', ') ~ " from " ~ this ~ " where source_file not in (select source_file from "
        ~ landed_files() ~ ")") }}
{% endmacro %}


{#- on-run-start: a warehouse is made of one folder. -#}
{% macro check_landing_folder() %}
    {% set events = graph.nodes[model_id('base_events')] %}
    {% set origin = origin_of(events.unique_id) or [] %}
    {% set listing = run_query("select count(*), string(sum(xxhash64(source_file, file_bytes, file_modified_at) % 1000000007)) from "
        ~ landed_files()).rows[0] %}
    {% do graph.run.update({'listing': listing[1]}) %}
    {% if listing[0] == 0 %}
        {{ stop("No raw logs in " ~ raw_location() ~ " (looked for " ~ var('raw_file_glob') ~ " in it and below). Put "
            ~ "the log files there, or name their folder: dbt build --vars '{raw_path: /path/to/logs}'") }}
    {% elif origin | length > 5 and origin[5] != raw_location() | urlencode and not var('landing_folder_moved') %}
        {% set folder = run_query("select url_decode('" ~ origin[5] ~ "')").rows[0][0] %}
        {{ stop("This warehouse was loaded from " ~ folder ~ ", not from " ~ raw_location()
            ~ ". Name its folder: dbt build --vars '{raw_path: " ~ folder ~ "}'. Other logs go "
            ~ "into a warehouse of their own: CHURN_WAREHOUSE=/path/to/warehouse dbt build, or into a schema of their "
            ~ "own: CHURN_SCHEMA=other dbt build. If the folder was moved: dbt build --vars "
            ~ "'{raw_path: " ~ raw_location() ~ ", landing_folder_moved: true}'") }}
    {% elif relation_exists(events) and events.unique_id in selected_resources %}
        {% do check_vanished_files(origin[0] != code_of(events)) %}
    {% elif events.unique_id in selected_resources %}
        {% do log("A new warehouse: loading " ~ listing[0] ~ " file(s) from " ~ raw_location() ~ ".", info=True) %}
    {% endif %}
{% endmacro %}


{% macro check_vanished_files(is_new_code) %}
    {% if not flags.FULL_REFRESH and not is_new_code %}{{ return('') }}{% endif %}
    {% set vanished = run_query("select source_file, count(*) from " ~ table_name(graph.nodes[model_id('base_events')])
        ~ " where source_file not in (select source_file from " ~ landed_files() ~ ") group by source_file order by 1").rows %}
    {% set what = vanished | map(attribute=1) | sum ~ " line(s) of " ~ vanished | length ~ " file(s) that are no longer in "
        ~ raw_location() ~ " (" ~ some_of(vanished | map(attribute=0) | list) ~ ")" %}
    {% if vanished and flags.FULL_REFRESH and not var('drop_lines_of_vanished_files') %}
        {{ stop("--full-refresh would lose " ~ what ~ ". Put the files back, build without --full-refresh, or accept "
            ~ "the loss: dbt build --full-refresh --vars '{drop_lines_of_vanished_files: true}'") }}
    {% elif vanished and not flags.FULL_REFRESH %}
        {% do log("base_events is rebuilt with new code. " ~ what ~ " stay as the old code made them.", info=True) %}
    {% endif %}
{% endmacro %}
