-- The files of the last load, counted by another reader: each line that is not blank is one line
-- of the ledger. One row per file that lost or gained lines.
with

raw_lines as (

    select
        {{ file_name_in_folder('_metadata.file_path') }} as source_file,
        count_if(trim(both ' \t' from value) <> '') as lines
    from {{ source('raw', 'lines') }}
    where {{ is_in_last_load('_metadata.file_path') }}
    group by _metadata.file_path

),

ledger as (

    select
        source_file,
        lines
    from {{ ref('ingested_files') }}

),

compared as (

    select
        raw_lines.source_file,
        raw_lines.lines as raw_lines,
        ledger.lines as ledger_lines
    from raw_lines
    left join ledger on raw_lines.source_file = ledger.source_file

)

select * from compared
where raw_lines is distinct from ledger_lines
