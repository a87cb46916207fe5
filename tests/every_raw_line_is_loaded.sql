-- Another reader counts the lines of each file: each one that is not blank is one line of the
-- ledger. One row per file that lost or gained lines. A file that changed after its load is not
-- compared.
with

compared as (

    select
        raw_file_lines.source_file,
        raw_file_lines.lines as raw_lines,
        ledger.lines as ledger_lines
    from {{ ref('raw_file_lines') }} as raw_file_lines
    inner join {{ ref('ingested_files') }} as ledger
        on
            raw_file_lines.source_file = ledger.source_file
            and raw_file_lines.file_bytes = ledger.file_bytes
            and raw_file_lines.file_modified_at = ledger.file_modified_at

)

select * from compared
where raw_lines <> ledger_lines
