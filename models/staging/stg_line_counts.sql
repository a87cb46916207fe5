-- The one pass over all lines that counts them: the ledger and the dates of the log are sums of
-- its rows.
{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['event_date'],
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
        count(*) as lines
    from {{ ref('base_events') }}
    where {{ in_changed('event_date') }}
    group by source_file, event_date, reject_reason

)

select * from line_counts
