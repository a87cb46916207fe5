-- In which states do most users cancel?
select
    state,
    count(*) as users,
    count_if(is_churned) as churned_users
from {{ target.schema }}_published.dim_users
group by state
order by churned_users desc, users desc, state
limit 10
