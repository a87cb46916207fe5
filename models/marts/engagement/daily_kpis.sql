-- Every date from the first to the last of the log has a row, so that a date without events shows
-- as zeros and not as a gap.
with

calendar as (

    select
        first_event_date,
        last_event_date,
        last_complete_date
    from {{ ref('churn_calendar') }}

),

user_days as (

    select
        *,
        lead(activity_date) over (partition by user_id order by activity_date)
            as next_activity_date
    from {{ ref('fct_user_days') }}

),

sessions as (

    select
        session_date as kpi_date,
        count(*) as sessions
    from {{ ref('fct_sessions') }}
    group by session_date

),

dates as (

    select
        explode(sequence(first_event_date, last_event_date)) as kpi_date,
        last_complete_date
    from calendar

),

totals as (

    select
        activity_date as kpi_date,
        count(*) as active_users,
        count_if(is_paid) as paid_users,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        sum(upgrades) as upgrades,
        sum(downgrades) as downgrades,
        sum(cancellations) as cancellations
    from user_days
    group by activity_date

),

arrivals as (

    -- each active date counts its user in for 28 days, or until the next active date counts again:
    -- no user twice, and no row per user and day of the window
    select
        kpi_date,
        sum(users) as arrived_users
    from (
        select
            activity_date as kpi_date,
            1 as users
        from user_days
        union all
        select
            least(date_add(activity_date, 28), next_activity_date) as kpi_date,
            -1 as users
        from user_days
    ) as moves
    group by kpi_date

),

all_dates as (

    select
        dates.kpi_date,
        coalesce(dates.kpi_date <= dates.last_complete_date, false) as is_complete,
        coalesce(totals.active_users, 0) as active_users,
        coalesce(totals.paid_users, 0) as paid_users,
        coalesce(totals.active_users - totals.paid_users, 0) as free_users,
        coalesce(sum(arrivals.arrived_users) over (
            order by dates.kpi_date rows between unbounded preceding and current row
        ), 0) as active_users_last_28_days,
        coalesce(sessions.sessions, 0) as sessions,
        coalesce(totals.songs, 0) as songs,
        coalesce(totals.listening_milliseconds, 0) as listening_milliseconds,
        coalesce(totals.adverts, 0) as adverts,
        coalesce(totals.errors, 0) as errors,
        coalesce(totals.upgrades, 0) as upgrades,
        coalesce(totals.downgrades, 0) as downgrades,
        coalesce(totals.cancellations, 0) as cancellations
    from dates
    left join totals on dates.kpi_date = totals.kpi_date
    left join sessions on dates.kpi_date = sessions.kpi_date
    left join arrivals on dates.kpi_date = arrivals.kpi_date

),

with_ratios as (

    select
        *,
        try_divide(paid_users, active_users) as paid_share,
        try_divide(active_users, active_users_last_28_days) as active_share_of_last_28_days,
        try_divide(listening_milliseconds, active_users * 3600000) as listening_hours_per_user
    from all_dates

)

select * from with_ratios
