-- Sums are those of the dates; users of a week are counted anew, as one may be there on several
-- dates.
with

dates as (

    select
        *,
        trunc(kpi_date, 'week') as week_start_date
    from {{ ref('daily_kpis') }}

),

user_weeks as (

    select
        trunc(activity_date, 'week') as week_start_date,
        user_id,
        max_by(is_paid, activity_date) as is_paid,
        sum(cancellations) > 0 as is_churned
    from {{ ref('fct_user_days') }}
    group by trunc(activity_date, 'week'), user_id

),

users as (

    select
        week_start_date,
        count(*) as active_users,
        count_if(is_paid) as paid_users,
        count_if(is_churned) as churned_users
    from user_weeks
    group by week_start_date

),

totals as (

    select
        week_start_date,
        count_if(is_complete) = 7 as is_complete,
        max_by(active_users_last_28_days, kpi_date) as active_users_last_28_days,
        sum(active_users) as active_user_days,
        sum(sessions) as sessions,
        sum(songs) as songs,
        sum(listening_milliseconds) as listening_milliseconds,
        sum(adverts) as adverts,
        sum(errors) as errors,
        sum(upgrades) as upgrades,
        sum(downgrades) as downgrades,
        sum(cancellations) as cancellations
    from dates
    group by week_start_date

),

weeks as (

    select
        totals.week_start_date,
        totals.is_complete,
        coalesce(users.active_users, 0) as active_users,
        coalesce(users.paid_users, 0) as paid_users,
        coalesce(users.active_users - users.paid_users, 0) as free_users,
        coalesce(users.churned_users, 0) as churned_users,
        totals.* except (week_start_date, is_complete)
    from totals
    left join users on totals.week_start_date = users.week_start_date

),

with_ratios as (

    select
        *,
        try_divide(paid_users, active_users) as paid_share,
        try_divide(churned_users, active_users) as churned_share,
        try_divide(active_users, active_users_last_28_days) as active_share_of_last_28_days,
        try_divide(listening_milliseconds, active_users * 3600000) as listening_hours_per_user
    from weeks

)

select * from with_ratios
