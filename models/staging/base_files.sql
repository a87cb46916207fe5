-- A look at the text of each new file before it is parsed. Spark's JSON reader takes the first
-- value of a line and stops, and makes a row of each element of a list: such files are told apart.
{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key='source_file',
        on_schema_change='fail',
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
    where {{ is_in_changed_file('_metadata.file_path') }}

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

)

select * from file_lines
