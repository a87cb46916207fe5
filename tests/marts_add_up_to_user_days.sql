-- What the marts of engagement count is what the user-days and the sessions count. One row per date
-- or week and sum that differs. Charts have the 100 first rows only, so no more plays than songs.
with

user_days as (

    select
        *,
        trunc(activity_date, 'week') as week_start_date
    from {{ ref('fct_user_days') }}

),

session_weeks as (

    select
        trunc(session_date, 'week') as week_start_date,
        count(*) as sessions
    from {{ ref('fct_sessions') }}
    group by trunc(session_date, 'week')

),

expected_dates as (

    select
        activity_date as kpi_date,
        count(*) as active_users,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(adverts + errors) as adverts_and_errors,
        sum(upgrades + downgrades + cancellations) as changes
    from user_days
    where {{ in_tested('activity_date') }}
    group by activity_date

),

tested_dates as (

    select * from {{ ref('daily_kpis') }}
    where {{ in_tested('kpi_date') }}

),

dates as (

    select
        'date ' || kpi_date as of,
        stack(
            5,
            'active users', expected.active_users, kpis.active_users,
            'songs', expected.songs, kpis.songs,
            'milliseconds', expected.listening_milliseconds, kpis.listening_milliseconds,
            'adverts and errors', expected.adverts_and_errors, kpis.adverts + kpis.errors,
            'changes of plan', expected.changes,
            kpis.upgrades + kpis.downgrades + kpis.cancellations
        ) as (figure, expected, found)
    from tested_dates as kpis
    full join expected_dates as expected using (kpi_date)

),

expected_weeks as (

    select
        week_start_date,
        count(distinct user_id) as active_users,
        sum(songs) as songs,
        sum(upgrade_visits + downgrade_visits) as visits,
        sum(upgrades + downgrades) as submits
    from user_days
    where {{ in_tested('week_start_date', 'weeks') }}
    group by week_start_date

),

retained as (

    select
        week_start_date,
        sum(active_users) as active_users
    from {{ ref('weekly_retention') }}
    group by week_start_date

),

funnel as (

    select
        week_start_date,
        sum(visits) as visits,
        sum(submits) as submits
    from {{ ref('weekly_plan_change_funnel') }}
    group by week_start_date

),

platforms as (

    select
        week_start_date,
        sum(sessions) as sessions
    from {{ ref('weekly_sessions_by_platform_and_state') }}
    group by week_start_date

),

charts as (

    select
        week_start_date,
        max(plays) as plays
    from (
        select
            week_start_date,
            kind,
            sum(plays) as plays
        from {{ ref('weekly_charts') }}
        group by week_start_date, kind
    )
    group by week_start_date

),

tested_weeks as (

    select * from {{ ref('weekly_kpis') }}
    where {{ in_tested('week_start_date', 'weeks') }}

),

weeks as (

    select
        'week ' || week_start_date as of,
        stack(
            8,
            'active users', expected.active_users, kpis.active_users,
            'retained users',
            if(kpis.is_complete, expected.active_users, null),
            retained.active_users,
            'songs', expected.songs, kpis.songs,
            'visits', expected.visits, funnel.visits,
            'submits', expected.submits, funnel.submits,
            'sessions', session_weeks.sessions, kpis.sessions,
            'sessions by platform', session_weeks.sessions, platforms.sessions,
            'plays in charts', least(kpis.songs, charts.plays), charts.plays
        ) as (figure, expected, found)
    from tested_weeks as kpis
    full join expected_weeks as expected using (week_start_date)
    left join retained using (week_start_date)
    left join funnel using (week_start_date)
    left join platforms using (week_start_date)
    left join charts using (week_start_date)
    left join session_weeks using (week_start_date)

),

totals as (

    -- a session that crosses the midnight of a week has its songs in one week there
    select
        'log' as of,
        stack(
            2,
            'songs by platform',
            (select sum(songs) from user_days),
            (select sum(songs) from {{ ref('weekly_sessions_by_platform_and_state') }}),
            'milliseconds by platform',
            (select sum(listening_milliseconds) from user_days),
            (
                select sum(listening_milliseconds)
                from {{ ref('weekly_sessions_by_platform_and_state') }}
            )
        ) as (figure, expected, found)

),

broken as (

    select * from dates
    union all
    select * from weeks
    union all
    select * from totals

)

select * from broken
where coalesce(expected, 0) <> coalesce(found, 0)
