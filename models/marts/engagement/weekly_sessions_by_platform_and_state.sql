with

sessions as (

    select
        user_id,
        trunc(session_date, 'week') as week_start_date,
        session_seconds,
        songs,
        listening_milliseconds
    from {{ ref('stg_sessions') }}

),

users as (

    select
        user_id,
        platform,
        state
    from {{ ref('dim_users') }}

),

user_weeks as (

    select
        week_start_date,
        user_id,
        count(*) as sessions,
        sum(session_seconds) as session_seconds,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds
    from sessions
    group by week_start_date, user_id

),

platform_weeks as (

    select
        user_weeks.week_start_date,
        users.platform,
        users.state,
        count(*) as users,
        sum(user_weeks.sessions) as sessions,
        sum(user_weeks.session_seconds) as session_seconds,
        sum(user_weeks.songs) as songs,
        sum(user_weeks.listening_milliseconds) as listening_milliseconds
    from user_weeks
    inner join users on user_weeks.user_id = users.user_id
    group by user_weeks.week_start_date, users.platform, users.state

)

select * from platform_weeks
