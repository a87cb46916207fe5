with

session_days as (

    select
        *,
        unix_seconds(first_event_at) - unix_seconds(lag(last_event_at) over (
            partition by user_id, session_id order by activity_date
        )) as seconds_since_previous_date
    from {{ ref('stg_session_days') }}

),

paused_days as (

    -- nobody listens for a month: a session id that comes again after more than a day is a counter
    -- that began anew, or a log in pieces, and the time between is no part of the session
    select
        *,
        case when seconds_since_previous_date > 86400 then seconds_since_previous_date end
            as pause_seconds
    from session_days

),

sessions as (

    -- a session belongs to the date on which it starts, its events to their own dates
    select
        user_id,
        session_id,
        min(activity_date) as session_date,
        min(first_event_at) as started_at,
        max(last_event_at) as ended_at,
        unix_seconds(max(last_event_at)) - unix_seconds(min(first_event_at))
        - coalesce(sum(pause_seconds), 0) as session_seconds,
        coalesce(sum(pause_seconds), 0) as pause_seconds,
        max(case when pause_seconds is not null then activity_date end) as last_resumed_date,
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
    from paused_days
    group by user_id, session_id

)

select * from sessions
