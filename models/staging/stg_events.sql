-- A view: the accepted lines are in `base_events` once, and are not written a second time. DuckDB
-- runs the same text for `fct_events` (warehouse/published.py).
{{ config(materialized='view') }}

with

log_dates as (

    select event_date from {{ ref('log_calendar') }}
    where is_in_log_period

),

repeated_events as (

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
        trim(both '"' from user_agent) as user_agent,
        registered_at,
        gender,
        artist,
        song,
        song_milliseconds,
        content_hash
    from {{ ref('duplicate_events') }}

),

single_events as (

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
        trim(both '"' from user_agent) as user_agent,
        registered_at,
        gender,
        artist,
        song,
        song_milliseconds,
        content_hash
    from {{ ref('base_events') }} as base_events
    where
        not exists (
            select 1 from repeated_events
            where
                repeated_events.event_date = base_events.event_date
                and repeated_events.content_hash = base_events.content_hash
        )

),

all_events as (

    select * from single_events
    union all
    select * from repeated_events

),

events as (

    select
        all_events.*,
        -- a change of plan is an event of the plan that it leads to: it may be a user's last event
        case pages.page_category
            when 'upgrade' then true
            when 'downgrade' then false
            else coalesce(plans.is_paid, false)
        end as is_paid,
        coalesce(pages.page_category, 'unknown') as page_category
    from all_events
    left join {{ ref('page_catalogue') }} as pages
        on all_events.page = pages.page
    left join {{ ref('plan_catalogue') }} as plans
        on all_events.level = plans.level
    where all_events.event_date in (select event_date from log_dates)

)

select * from events
