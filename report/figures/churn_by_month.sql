-- How many of the active users of a month cancelled, and how many stayed, as far as is known?
-- A user of a month is in a daily snapshot of it. Each snapshot has the label that became known for
-- it: cancelled within ten days, or not; null while the ten days are not over.
with

user_months as (

    select
        features.user_id,
        trunc(features.snapshot_date, 'month') as month_start_date,
        bool_or(features.is_churned_next_10_days) as is_churned
    from {{ target.schema }}_published.churn_features as features
    cross join {{ target.schema }}_published.churn_calendar as calendar
    where features.snapshot_date <= calendar.current_snapshot_date
    group by features.user_id, trunc(features.snapshot_date, 'month')

)

select
    month_start_date,
    count_if(is_churned) as churned_users,
    count_if(not is_churned) as stayed_users,
    count_if(is_churned is null) as unknown_users,
    try_divide(count_if(is_churned), count(is_churned)) as churned_share
from user_months
group by month_start_date
order by month_start_date
