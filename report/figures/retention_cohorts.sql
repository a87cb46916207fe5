-- How many of those who registered in a week are active so many weeks later?
-- Newcomers only: of who registered before the log begins, those who had left by then are unknown.
-- The last 26 cohorts, both plans together.
with

cohorts as (

    select
        cohort_week_start_date,
        weeks_since,
        sum(cohort_users) as cohort_users,
        sum(active_users) as active_users,
        dense_rank() over (order by cohort_week_start_date desc) as cohort_age
    from {{ target.schema }}_published.weekly_retention
    where not is_from_before_log
    group by cohort_week_start_date, weeks_since

)

select
    cohort_week_start_date,
    weeks_since,
    cohort_users,
    active_users,
    try_divide(active_users, cohort_users) as retained_share
from cohorts
where cohort_age <= 26
order by cohort_week_start_date, weeks_since
