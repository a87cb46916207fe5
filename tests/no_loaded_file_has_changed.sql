-- What was loaded from a file stays until somebody says otherwise: dbt run-operation reload_files
-- --args '{files: [<source_file>]}', then dbt build. One row per file that changed or vanished.
{{ config(severity='warn') }}

select
    source_file,
    file_status
from {{ ref('ingested_files') }}
where file_status in ('changed', 'vanished')
