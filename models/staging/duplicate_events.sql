-- Grouping by the whole content, not by its hash, decides: a hash that collides costs nothing
-- but a second look. Which line of an event counts shows nowhere but in `source_files`.
{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['event_date'],
    )
}}

with

candidates as (

    select
        event_date,
        content_hash
    from {{ ref('duplicate_candidates') }}
    where {{ in_changed('event_date') }}

),

lines as (

    select base_events.*
    from {{ ref('base_events') }} as base_events
    left semi join candidates
        on
            base_events.event_date = candidates.event_date
            and base_events.content_hash = candidates.content_hash
    where {{ in_changed('base_events.event_date') }}

),

events as (

    select
        event_date,
        event_at,
        user_id,
        session_id,
        item_in_session,
        page,
        auth,
        http_method,
        http_status,
        level,
        location,
        user_agent,
        registered_at,
        gender,
        artist,
        song,
        song_milliseconds,
        content_hash,
        count(*) as lines,
        sort_array(collect_list(source_file)) as source_files
    from lines
    group by
        event_date,
        event_at,
        user_id,
        session_id,
        item_in_session,
        page,
        auth,
        http_method,
        http_status,
        level,
        location,
        user_agent,
        registered_at,
        gender,
        artist,
        song,
        song_milliseconds,
        content_hash

)

select * from events
