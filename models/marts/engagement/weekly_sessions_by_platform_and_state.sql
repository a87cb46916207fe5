with

platform_weeks as (

    select
        trunc(session_date, 'week') as week_start_date,
        platform,
        state,
        count(distinct user_id) as users,
        count(*) as sessions,
        sum(session_seconds) as session_seconds,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds
    from {{ ref('fct_sessions') }}
    group by trunc(session_date, 'week'), platform, state

)

select * from platform_weeks
