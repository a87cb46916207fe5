-- Of each date, the lines are events, quarantined lines or duplicates, and the events with a user
-- are in one session and one user-day each; sessions, users and files add up to the same. One row
-- per sum that does not. The lines of no date are those that were rejected when they were parsed.
{{ config(group='analytics_engineering') }}

with

staged as (

    select
        event_date,
        count(*) as events,
        count(user_id) as user_events
    from {{ ref('stg_events') }}
    where {{ in_tested('event_date') }}
    group by event_date

),

counts as (

    select
        event_date,
        'lines' as figure,
        lines as events
    from {{ ref('stg_line_counts') }}
    where event_date is null or {{ in_tested('event_date') }}
    union all
    select
        event_date,
        stack(2, 'staged', events, 'staged with a user', user_events) as (figure, events)
    from staged
    union all
    select
        event_date,
        'rejected' as figure,
        count(*) as events
    from {{ ref('stg_events_rejected') }}
    where event_date is null or {{ in_tested('event_date') }}
    group by event_date
    union all
    select
        duplicates.event_date,
        'duplicate' as figure,
        duplicates.lines - 1 as events
    from {{ ref('duplicate_events') }} as duplicates
    inner join {{ ref('log_calendar') }} as dates
        on duplicates.event_date = dates.event_date
    where dates.is_in_log_period and {{ in_tested('duplicates.event_date') }}
    union all
    select
        activity_date as event_date,
        'in sessions' as figure,
        events
    from {{ ref('int_session_parts') }}
    where {{ in_tested('activity_date') }}
    union all
    select
        activity_date as event_date,
        'in user-days' as figure,
        events
    from {{ ref('fct_user_days') }}
    where {{ in_tested('activity_date') }}

),

dates as (

    select
        event_date,
        coalesce(sum(events) filter (where figure = 'lines'), 0) as line_events,
        coalesce(sum(events) filter (where figure in ('staged', 'rejected', 'duplicate')), 0)
            as kept_events,
        coalesce(sum(events) filter (where figure = 'staged with a user'), 0) as user_events,
        coalesce(sum(events) filter (where figure = 'in sessions'), 0) as session_events,
        coalesce(sum(events) filter (where figure = 'in user-days'), 0) as user_day_events
    from counts
    group by event_date

),

totals as (

    select
        (select sum(lines) from {{ ref('stg_line_counts') }}) as lines,
        (select sum(lines) from {{ ref('ingested_files') }}) as file_lines,
        (
            select sum(staged_events + rejected_lines + duplicate_lines)
            from {{ ref('ingested_files') }}
        ) as kept_file_lines,
        (select sum(events) from {{ ref('fct_user_days') }}) as user_day_events,
        (select sum(events) from {{ ref('fct_sessions') }}) as session_events,
        (select sum(events) from {{ ref('dim_users') }}) as user_events

),

broken as (

    select
        event_date,
        stack(
            3,
            'lines staged, rejected or duplicate', line_events, kept_events,
            'events in sessions', user_events, session_events,
            'events in user-days', user_events, user_day_events
        ) as (what, expected, found)
    from dates
    union all
    select
        cast(null as date) as event_date,
        stack(
            4,
            'lines of files', lines, file_lines,
            'lines of files, staged, rejected or duplicate', file_lines, kept_file_lines,
            'events of sessions', user_day_events, session_events,
            'events of users', user_day_events, user_events
        ) as (what, expected, found)
    from totals

)

select * from broken
where expected is distinct from found
