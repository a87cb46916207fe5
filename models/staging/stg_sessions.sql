with

session_days as (

    select * from {{ ref('stg_session_days') }}

),

sessions as (

    -- a session belongs to the date on which it starts, its events to their own dates
    select
        user_id,
        session_id,
        min(activity_date) as session_date,
        min(first_event_at) as started_at,
        max(last_event_at) as ended_at,
        unix_seconds(max(last_event_at)) - unix_seconds(min(first_event_at)) as session_seconds,
        sum(events) as events,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(thumbs_up) as thumbs_up,
        sum(thumbs_down) as thumbs_down,
        sum(playlist_adds) as playlist_adds,
        sum(friend_adds) as friend_adds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        -- a tie within one millisecond counts as paid
        coalesce(max(last_paid_event_at) >= max(last_free_event_at), sum(paid_events) > 0)
            as is_paid_at_end
    from session_days
    group by user_id, session_id

)

select * from sessions
