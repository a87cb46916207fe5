{{ config(materialized='view') }}

with

lines as (

    select
        base_events.source_file,
        base_events.loaded_at,
        coalesce(base_events.reject_reason, 'far_from_the_log') as reject_reason,
        base_events.event_date,
        base_events.event_at,
        coalesce(
            base_events.raw_line,
            to_json(
                struct(
                    base_events.event_at,
                    base_events.user_id,
                    base_events.session_id,
                    base_events.item_in_session,
                    base_events.page,
                    base_events.auth,
                    base_events.http_method,
                    base_events.http_status,
                    base_events.level,
                    base_events.location,
                    base_events.user_agent,
                    base_events.registered_at,
                    base_events.gender,
                    base_events.artist,
                    base_events.song,
                    base_events.song_milliseconds
                )
            )
        ) as raw_line
    from {{ ref('base_events') }} as base_events
    left join {{ ref('log_calendar') }} as dates
        on base_events.event_date = dates.event_date
    where
        base_events.reject_reason is not null
        or not dates.is_in_log_period

)

select * from lines
