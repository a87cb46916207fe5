-- The one pass over all lines that counts them: the ledger and the dates of the log are sums of
-- its rows. A file is counted once, after its load.
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
    )
}}

with

line_counts as (

    select
        source_file,
        event_date,
        reject_reason,
        max(source_file_bytes) as file_bytes,
        max(source_file_modified_at) as file_modified_at,
        min(loaded_at) as loaded_at,
        current_timestamp() as counted_at,
        count(*) as lines
    from {{ ref('base_events') }}
    where {{ is_in_uncounted_file('source_file') }}
    group by source_file, event_date, reject_reason

)

select * from line_counts
