-- The narrow second look: two columns of the wide table find which lines may be one event. Usually
-- none, so the wide rows themselves are never sorted or shuffled. A table, as Spark must know that
-- they are few before it plans the join.
{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['event_date'],
    )
}}

with

lines as (

    select
        event_date,
        content_hash
    from {{ ref('base_events') }}
    where event_date is not null and {{ in_changed('event_date') }}

),

candidates as (

    select
        event_date,
        content_hash,
        count(*) as lines
    from lines
    group by event_date, content_hash
    having count(*) > 1

)

select * from candidates
