-- A view: the accepted lines are in `base_events` once, and are not written a second time.
{{ config(materialized='view') }}

with

log_dates as (

    select event_date from {{ ref('log_calendar') }}
    where is_in_log_period

),

repeated_events as (

    select * except (lines, source_files)
    from {{ ref('duplicate_events') }}

),

single_events as (

    select
        base_events.event_date,
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
        base_events.song_milliseconds,
        base_events.content_hash
    from {{ ref('base_events') }} as base_events
    left anti join repeated_events
        on
            base_events.event_date = repeated_events.event_date
            and base_events.content_hash = repeated_events.content_hash

),

all_events as (

    select * from single_events
    union all
    select * from repeated_events

),

events as (

    select
        all_events.* except (user_agent),
        trim(both '"' from all_events.user_agent) as user_agent,
        -- a change of plan is an event of the plan that it leads to: it may be a user's last event
        case pages.page_category
            when 'upgrade' then true
            when 'downgrade' then false
            else coalesce(all_events.level = 'paid', false)
        end as is_paid,
        coalesce(pages.page_category, 'unknown') as page_category
    from all_events
    left semi join log_dates
        on all_events.event_date = log_dates.event_date
    left join {{ ref('page_catalogue') }} as pages
        on all_events.page = pages.page

)

select * from events
