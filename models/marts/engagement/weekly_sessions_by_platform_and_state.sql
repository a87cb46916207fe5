with

session_weeks as (

    -- one user's sessions on one device in one state: the rest counts users as rows
    select
        trunc(session_date, 'week') as week_start_date,
        platform,
        state,
        user_id,
        count(*) as sessions,
        sum(session_seconds) as session_seconds,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds
    from {{ ref('fct_sessions') }}
    group by trunc(session_date, 'week'), platform, state, user_id

),

platform_weeks as (

    select
        week_start_date,
        platform,
        state,
        count(*) as users,
        sum(sessions) as sessions,
        sum(session_seconds) as session_seconds,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds
    from session_weeks
    group by week_start_date, platform, state

)

select * from platform_weeks
