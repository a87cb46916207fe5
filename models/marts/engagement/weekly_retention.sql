-- Complete weeks only: a week that is cut short would look like users who left.
with

user_days as (

    select
        user_id,
        activity_date,
        trunc(activity_date, 'week') as week_start_date,
        registered_at,
        is_paid
    from {{ ref('fct_user_days') }}

),

calendar as (

    select first_event_date
    from {{ ref('churn_calendar') }}

),

complete_weeks as (

    select week_start_date
    from {{ ref('weekly_kpis') }}
    where is_complete

),

users as (

    -- nobody is active before the cohort begins, whatever the registration says
    select
        user_id,
        least(min(week_start_date), trunc(cast(min(registered_at) as date), 'week'))
            as cohort_week_start_date,
        if(min_by(is_paid, activity_date), 'paid', 'free') as first_level
    from user_days
    group by user_id

),

cohorts as (

    select
        cohort_week_start_date,
        first_level,
        count(*) as cohort_users
    from users
    group by cohort_week_start_date, first_level

),

user_weeks as (

    select
        user_id,
        week_start_date
    from user_days
    group by user_id, week_start_date

),

activity as (

    select
        users.cohort_week_start_date,
        users.first_level,
        user_weeks.week_start_date,
        count(*) as active_users
    from user_weeks
    inner join users on user_weeks.user_id = users.user_id
    group by users.cohort_week_start_date, users.first_level, user_weeks.week_start_date

),

retention as (

    select
        cohorts.cohort_week_start_date,
        cohorts.first_level,
        datediff(weeks.week_start_date, cohorts.cohort_week_start_date) div 7 as weeks_since,
        weeks.week_start_date,
        cohorts.cohort_week_start_date < calendar.first_event_date as is_from_before_log,
        cohorts.cohort_users,
        coalesce(activity.active_users, 0) as active_users,
        try_divide(coalesce(activity.active_users, 0), cohorts.cohort_users) as retained_share
    from cohorts
    cross join calendar
    inner join complete_weeks as weeks
        on cohorts.cohort_week_start_date <= weeks.week_start_date
    left join activity
        on
            cohorts.cohort_week_start_date = activity.cohort_week_start_date
            and cohorts.first_level = activity.first_level
            and weeks.week_start_date = activity.week_start_date

)

select * from retention
