-- Another reader counts the lines of each file: each one that is not blank is one line of the
-- ledger. One row per file that lost or gained lines. A file that changed after its load is not
-- compared.
with

compared as (

    select
        base_files.source_file,
        base_files.lines as raw_lines,
        ledger.lines as ledger_lines
    from {{ ref('base_files') }} as base_files
    inner join {{ ref('ingested_files') }} as ledger
        on
            base_files.source_file = ledger.source_file
            and base_files.file_bytes = ledger.file_bytes
            and base_files.file_modified_at = ledger.file_modified_at

)

select * from compared
where raw_lines <> ledger_lines
