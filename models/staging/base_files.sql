-- A look at the text of each new file before it is parsed. Spark's JSON reader takes the first
-- value of a line and stops, and makes a row of each element of a list: such files are told apart.
{{
    config(
        meta={'updated_by': 'files'},
        pre_hook="{{ convert_raw_texts(true) }}",
        post_hook="{{ convert_raw_texts(false) }}",
    )
}}

with

raw_lines as (

    select
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as file_bytes,
        _metadata.file_modification_time as file_modified_at,
        startswith(value, '{') or trim(both ' \t' from value) <> '' as has_text,
        {{ is_flat_object('value') }} as is_flat_object
    from {{ source('raw', 'lines') }}
    where {{ is_file_to_load('_metadata.file_path') }}

),

file_lines as (

    select
        source_file,
        file_bytes,
        file_modified_at,
        count_if(has_text) as lines,
        count_if(not is_flat_object and has_text) as irregular_lines
    from raw_lines
    group by source_file, file_bytes, file_modified_at

),

landed as (

    -- an empty file has no line that could tell of it
    select
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        _metadata.file_size as file_bytes,
        _metadata.file_modification_time as file_modified_at
    from {{ source('raw', 'files') }}
    where {{ is_file_to_load('_metadata.file_path') }}

),

files as (

    select
        landed.source_file,
        landed.file_bytes,
        landed.file_modified_at,
        coalesce(file_lines.lines, 0) as lines,
        coalesce(file_lines.irregular_lines, 0) as irregular_lines
    from landed
    left join file_lines
        on
            landed.source_file = file_lines.source_file
            and landed.file_bytes = file_lines.file_bytes
            and landed.file_modified_at = file_lines.file_modified_at

)

select * from files
